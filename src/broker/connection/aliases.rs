//! Topic aliases towards a client (MQTT 5, section 3.3.2.3.4): a topic that is sent again and again
//! costs its connection three bytes instead of its name.
//!
//! A topic gets an alias the first time it is sent. When all aliases that the client takes are given, a
//! hand goes round them as a clock's does: one that was not used since the hand's last visit is given
//! to the new topic. So steady topics keep theirs, whatever passes by once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::SUBSCRIBER_ALIAS_TOPIC_MIN;
use crate::topic::TopicName;

/// How a topic is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// By its name alone.
    Plain,
    /// By its name, which the alias stands for from now on. `at` is the alias's place.
    New { alias: u16, at: usize },
    /// By the alias alone.
    Known(u16),
}

#[derive(Debug)]
struct Given {
    topic: Arc<str>,
    used: bool,
}

/// The aliases of one connection.
#[derive(Debug)]
pub(super) struct Aliases {
    max: usize,
    /// By alias less one.
    given: Vec<Given>,
    places: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    hand: usize,
}

impl Aliases {
    /// For a client that takes `max` of them.
    pub(super) fn new(max: u16) -> Self {
        Aliases { max: usize::from(max), given: Vec::new(), places: HashMap::default(), hand: 0 }
    }

    /// How to write `topic`. An alias that is new counts only after [`Aliases::give`].
    pub(super) fn name(&mut self, topic: &TopicName) -> Naming {
        if self.max == 0 || topic.as_str().len() < SUBSCRIBER_ALIAS_TOPIC_MIN {
            return Naming::Plain;
        }
        if let Some(at) = self.places.get(topic.as_str()) {
            if let Some(given) = self.given.get_mut(*at) {
                given.used = true;
            }
            return Naming::Known(alias_of(*at));
        }
        if self.given.len() < self.max {
            let at = self.given.len();
            return Naming::New { alias: alias_of(at), at };
        }
        let at = self.hand;
        self.hand = (at + 1) % self.max;
        let was_used = self.given.get_mut(at).is_none_or(|given| std::mem::take(&mut given.used));
        if was_used { Naming::Plain } else { Naming::New { alias: alias_of(at), at } }
    }

    /// The packet that makes a new alias known is on its way.
    pub(super) fn give(&mut self, at: usize, topic: &TopicName) {
        let topic = topic.as_arc();
        let given = Given { topic: Arc::clone(topic), used: true };
        if let Some(place) = self.given.get_mut(at) {
            let old = std::mem::replace(place, given);
            self.places.remove(&old.topic);
        } else {
            self.given.push(given);
        }
        self.places.insert(Arc::clone(topic), at);
    }
}

fn alias_of(at: usize) -> u16 {
    u16::try_from(at + 1).expect("there are no more places than aliases")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(n: usize) -> TopicName {
        TopicName::parse(&format!("plant/line/{n}")).unwrap()
    }

    fn send(aliases: &mut Aliases, n: usize) -> Naming {
        let topic = topic(n);
        let naming = aliases.name(&topic);
        if let Naming::New { at, .. } = naming {
            aliases.give(at, &topic);
        }
        naming
    }

    #[test]
    fn a_client_without_aliases_and_a_short_topic_get_none() {
        assert_eq!(send(&mut Aliases::new(0), 1), Naming::Plain);
        let mut aliases = Aliases::new(9);
        assert_eq!(aliases.name(&TopicName::parse("a/b").unwrap()), Naming::Plain);
    }

    #[test]
    fn what_comes_again_keeps_its_alias_and_what_came_once_gives_it_up() {
        let mut aliases = Aliases::new(2);
        assert_eq!(send(&mut aliases, 1), Naming::New { alias: 1, at: 0 });
        assert_eq!(send(&mut aliases, 1), Naming::Known(1));
        assert_eq!(send(&mut aliases, 2), Naming::New { alias: 2, at: 1 });
        // Both were used since the hand came by; then 1 is used again, and 2 is not.
        assert_eq!(send(&mut aliases, 3), Naming::Plain);
        assert_eq!(send(&mut aliases, 4), Naming::Plain);
        assert_eq!(send(&mut aliases, 1), Naming::Known(1));
        assert_eq!(send(&mut aliases, 5), Naming::Plain);
        assert_eq!(send(&mut aliases, 6), Naming::New { alias: 2, at: 1 });
        assert_eq!(send(&mut aliases, 1), Naming::Known(1));
        assert_eq!(send(&mut aliases, 6), Naming::Known(2));
        assert_eq!(aliases.places.len(), 2);
    }

    #[test]
    fn an_alias_that_was_not_sent_is_not_known() {
        let mut aliases = Aliases::new(2);
        assert_eq!(aliases.name(&topic(1)), Naming::New { alias: 1, at: 0 });
        assert_eq!(aliases.name(&topic(1)), Naming::New { alias: 1, at: 0 });
    }
}
