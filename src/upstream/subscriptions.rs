//! What is subscribed to at the other broker, brought in line with what is wanted.
//!
//! New filters are asked for first, and old ones given up when those are granted: in between a message may
//! come twice, and none is missed. After a connect all that is wanted is asked for, and what the broker's
//! session may have beside is given up.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;

use super::link::Asked;
use super::link::Requests;
use super::link::Subscription;
use super::memory::Kept;

/// Requests under way at once.
const UNDER_WAY_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Subscribe(Subscription),
    Unsubscribe(String),
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    todo: VecDeque<Step>,
    /// Handed over, not written.
    unwritten: VecDeque<Step>,
    /// Written, by packet id.
    unanswered: HashMap<u16, Step>,
    /// Refused, with the reason.
    pub(super) refused: BTreeMap<String, &'static str>,
}

impl Subscriptions {
    /// Plans the way from what `kept` says to `wanted`, and notes it there; `kept` must be saved before the
    /// next [`Subscriptions::proceed`].
    pub(super) fn plan(&mut self, wanted: &[Subscription], kept: &mut Kept) {
        self.todo.clear();
        self.refused.clear();
        for step in self.unwritten.iter().chain(self.unanswered.values()) {
            if let Step::Unsubscribe(filter) = step {
                // On its way out: whoever wants it has to ask again.
                kept.granted.remove(filter);
                kept.asked.insert(filter.clone());
            }
        }
        for subscription in wanted {
            let Subscription { filter, qos, .. } = subscription;
            if kept.granted.get(filter) != Some(&(*qos as u8)) {
                kept.asked.insert(filter.clone());
                self.todo.push_back(Step::Subscribe(subscription.clone()));
            }
        }
        let is_wanted =
            |filter: &String| wanted.iter().any(|subscription| subscription.filter == *filter);
        let old = kept.granted.keys().chain(&kept.asked).filter(|filter| !is_wanted(filter));
        let mut old: Vec<String> = old.cloned().collect();
        old.sort();
        old.dedup();
        self.todo.extend(old.into_iter().map(Step::Unsubscribe));
    }

    /// The connection is new: nothing is under way. What the session has been granted is asked for again:
    /// Mosquitto 2.0 loses shared subscriptions over its own restart, and says that the session is there.
    pub(super) fn begin(&mut self, is_session_present: bool, kept: &mut Kept) {
        *self = Subscriptions::default();
        let granted = std::mem::take(&mut kept.granted);
        kept.asked.extend(granted.into_keys());
        if !is_session_present {
            kept.asked.clear();
        }
    }

    /// Hands over what can be.
    pub(super) fn proceed(&mut self, requests: &Requests) {
        while let Some(step) = self.todo.front() {
            let under_way = self.unwritten.len() + self.unanswered.len();
            let must_wait = matches!(step, Step::Unsubscribe(_))
                && self
                    .unwritten
                    .iter()
                    .chain(self.unanswered.values())
                    .any(|step| matches!(step, Step::Subscribe(_)));
            if under_way >= UNDER_WAY_MAX || must_wait {
                return;
            }
            let asked = match step {
                Step::Subscribe(subscription) => requests.subscribe(subscription),
                Step::Unsubscribe(filter) => requests.unsubscribe(filter),
            };
            if asked == Asked::Full {
                return;
            }
            self.unwritten.extend(self.todo.pop_front());
        }
    }

    /// The next request is written, under this packet id.
    pub(super) fn note_written(&mut self, packet_id: u16) {
        if let Some(step) = self.unwritten.pop_front() {
            self.unanswered.insert(packet_id, step);
        }
    }

    /// A request is answered, with the reason when it is refused. Answers whether all are, and `kept` is
    /// worth saving.
    pub(super) fn note_answer(
        &mut self,
        packet_id: u16,
        refusal: Option<&'static str>,
        kept: &mut Kept,
    ) -> bool {
        match (self.unanswered.remove(&packet_id), refusal) {
            (Some(Step::Subscribe(subscription)), None) => {
                let Subscription { filter, qos, .. } = subscription;
                kept.asked.remove(&filter);
                kept.granted.insert(filter, qos as u8);
            }
            (Some(Step::Subscribe(subscription)), Some(reason)) => {
                let filter = subscription.filter;
                tracing::error!(filter, reason, "the other broker refuses a subscription");
                kept.asked.remove(&filter);
                kept.granted.remove(&filter);
                self.refused.insert(filter, reason);
            }
            (Some(Step::Unsubscribe(filter)), _) => {
                kept.asked.remove(&filter);
                kept.granted.remove(&filter);
            }
            (None, _) => {}
        }
        self.todo.is_empty() && self.unwritten.is_empty() && self.unanswered.is_empty()
    }
}
