//! A connection's own memory of the topics it publishes to: checked name, route, alias.

use std::collections::HashMap;
use std::sync::Arc;

use super::exchange::Exchange;
use super::packet::Violation;
use super::subscriptions::Route;
use crate::access::Permissions;
use crate::limits::TOPIC_ALIAS_MAX;
use crate::limits::TOPIC_CACHE_BYTES_MAX;
use crate::limits::TOPIC_CACHE_MAX;
use crate::limits::TOPIC_CACHE_REST_BYTES;
use crate::topic::TopicError;
use crate::topic::TopicName;

/// A known topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    /// Who gets it; good while `version` is the index's.
    pub(crate) route: Option<Arc<Route>>,
    version: u64,
    /// Whether the client may publish there; good while `permitted` is the permissions' version.
    pub(crate) is_allowed: bool,
    permitted: u64,
}

/// The topics of one connection.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    places: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    known: Vec<Topic>,
    /// Of the names in `places`.
    bytes: usize,
    /// By alias less one.
    aliases: Vec<Option<TopicName>>,
}

impl Topics {
    /// The topic of a PUBLISH by session `publisher`: its text, or what its alias stands for (MQTT 5,
    /// section 3.3.2.3.4).
    pub(crate) fn resolve(
        &mut self,
        text: &[u8],
        alias: Option<u16>,
        publisher: u64,
        permissions: &Permissions,
        exchange: &Exchange,
    ) -> Result<&Topic, Violation> {
        let Some(alias) = alias else {
            return self.find(text, publisher, permissions, exchange);
        };
        if alias > TOPIC_ALIAS_MAX {
            return Err(Violation::TopicAlias);
        }
        let at = usize::from(alias) - 1;
        if text.is_empty() {
            let name = self.aliases.get(at).cloned().flatten().ok_or(Violation::TopicAlias)?;
            return self.find(name.as_str().as_bytes(), publisher, permissions, exchange);
        }
        let name = self.find(text, publisher, permissions, exchange)?.name.clone();
        if self.aliases.len() <= at {
            self.aliases.resize(at + 1, None);
        }
        if let Some(place) = self.aliases.get_mut(at) {
            *place = Some(name);
        }
        self.find(text, publisher, permissions, exchange)
    }

    fn find(
        &mut self,
        text: &[u8],
        publisher: u64,
        permissions: &Permissions,
        exchange: &Exchange,
    ) -> Result<&Topic, Violation> {
        let at = match self.places.get(text) {
            Some(at) => *at,
            None => self.learn(text)?,
        };
        let topic = self.known.get_mut(at).expect("places and topics are learnt together");
        if topic.version != exchange.subscriptions.version() {
            (topic.version, topic.route) =
                exchange.subscriptions.route(topic.name.as_str(), Some(publisher));
        }
        if topic.permitted != permissions.version() {
            topic.is_allowed = permissions.may_publish(topic.name.as_str());
            topic.permitted = permissions.version();
        }
        Ok(topic)
    }

    /// Gives back what the memory takes beyond [`TOPIC_CACHE_REST_BYTES`]; aliases are the client's, and
    /// stay.
    pub(crate) fn rest(&mut self) {
        if self.bytes > TOPIC_CACHE_REST_BYTES {
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.known, self.places, self.bytes) = (Vec::new(), HashMap::default(), 0);
    }

    fn learn(&mut self, text: &[u8]) -> Result<usize, Violation> {
        let checked = std::str::from_utf8(text)
            .map_err(|_| Violation::Malformed("a topic name is not UTF-8"))?;
        let name = TopicName::parse(checked).map_err(|error| match error {
            TopicError::Nul => Violation::Malformed("a string contains NUL"),
            TopicError::Empty => Violation::Protocol("neither a topic nor an alias"),
            error => Violation::TopicName(error),
        })?;
        if self.known.len() >= TOPIC_CACHE_MAX || self.bytes + text.len() > TOPIC_CACHE_BYTES_MAX {
            self.forget();
        }
        let at = self.known.len();
        self.bytes += text.len();
        // Nothing has this version: the first look makes the route, and asks the permissions.
        let (version, permitted) = (u64::MAX, u64::MAX);
        self.known.push(Topic { name, route: None, version, is_allowed: false, permitted });
        self.places.insert(Box::from(text), at);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::access::Identity;
    use crate::broker::exchange::Guard;
    use crate::clock::Clock;
    use crate::config::AccessConfig;
    use crate::config::MqttConfig;
    use crate::config::RateConfig;

    /// What a client without a name may do under these rules.
    fn allowed(rules: &[&str]) -> (Exchange, Permissions) {
        let clock = Clock::start();
        let mut config = AccessConfig::default();
        for rule in rules {
            config.acl.rules.add(rule).unwrap();
        }
        let access = Arc::new(Access::load(&config, clock, None).unwrap());
        let permissions = access.permissions(&Identity::anonymous(), "c").unwrap();
        let guard = Guard { access, rate: RateConfig::default() };
        (Exchange::new(&MqttConfig::default(), clock, guard, None), permissions)
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgetting_it_changes_no_answer() {
        let (exchange, permissions) = allowed(&["allow publish any own/#"]);
        let mut topics = Topics::default();
        let may = |topics: &mut Topics, name: &str, alias| {
            let topic = topics.resolve(name.as_bytes(), alias, 1, &permissions, &exchange);
            topic.map(|topic| topic.is_allowed)
        };
        assert_eq!(may(&mut topics, "own/alias", Some(7)), Ok(true));
        for n in 0..3 * TOPIC_CACHE_MAX {
            let name = if n % 2 == 0 { format!("own/{n}") } else { format!("others/{n}") };
            for _ in 0..2 {
                assert_eq!(may(&mut topics, &name, None), Ok(n % 2 == 0), "{name}");
            }
            assert!(topics.known.len() <= TOPIC_CACHE_MAX);
            assert_eq!(topics.known.len(), topics.places.len());
        }
        for n in 0..20 {
            let name = format!("own/{n}/{}", "x".repeat(60_000));
            assert_eq!(may(&mut topics, &name, None), Ok(true));
            assert!(topics.bytes <= TOPIC_CACHE_BYTES_MAX, "{} bytes", topics.bytes);
            let names: usize = topics.places.keys().map(|name| name.len()).sum();
            assert_eq!(topics.bytes, names);
        }
        topics.rest();
        assert_eq!((topics.bytes, topics.known.len()), (0, 0), "a client at rest keeps little");
        assert_eq!(may(&mut topics, "", Some(7)), Ok(true), "its aliases are its own");
        assert_eq!(may(&mut topics, "", Some(8)), Err(Violation::TopicAlias));
    }
}
