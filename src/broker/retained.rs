//! Retained messages in memory, by topic level, so that a filter finds its own without a look at the
//! others. The journal keeps them on disk; here they are what new subscriptions get.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::message::Message;
use crate::clock::Timestamp;
use crate::limits::RETAINED_BYTES_MAX;
use crate::publish::Publish;
use crate::topic::TopicFilter;
use crate::topic::TopicName;

/// No room for another retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Node {
    levels: HashMap<Box<str>, Node, foldhash::fast::RandomState>,
    message: Option<Arc<Message>>,
}

#[derive(Debug, Default)]
struct Tree {
    root: Node,
    len: usize,
    bytes: usize,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Retained {
    messages_max: usize,
    tree: RwLock<Tree>,
}

impl Retained {
    pub(crate) fn new(messages_max: usize) -> Self {
        Retained { messages_max, tree: RwLock::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.read().len
    }

    /// What they take, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.tree.read().bytes
    }

    /// Keeps the message for its topic, or forgets the topic's when the payload is empty (MQTT 5,
    /// section 3.3.1.3).
    pub(crate) fn set(&self, publish: &Publish) -> Result<(), Full> {
        let topic = publish.topic.as_str();
        if publish.payload.is_empty() {
            self.tree.write().remove(topic);
            return Ok(());
        }
        let message = Message::new(publish);
        let mut tree = self.tree.write();
        let (old_len, old_bytes) =
            tree.root.find(topic).map_or((0, 0), |message| (1, message.bytes()));
        let len = tree.len - old_len + 1;
        let bytes = tree.bytes - old_bytes + message.bytes();
        if len > self.messages_max || bytes > RETAINED_BYTES_MAX {
            return Err(Full);
        }
        tree.root.child(topic).message = Some(message);
        (tree.len, tree.bytes) = (len, bytes);
        Ok(())
    }

    /// Forgets what has expired.
    pub(crate) fn forget_expired(&self, now: Timestamp) {
        let mut expired = Vec::new();
        self.tree.read().root.collect(&["#"], false, &mut |message| {
            if message.expiry_left(now).is_err() {
                expired.push(Arc::clone(message));
            }
        });
        for message in expired {
            let (topic, mut tree) = (message.publish.topic.as_str(), self.tree.write());
            // Another may have come to the topic since.
            if tree.root.find(topic).is_some_and(|found| Arc::ptr_eq(found, &message)) {
                tree.remove(topic);
            }
        }
    }

    /// The message of a topic, unless it has expired.
    pub(crate) fn get(&self, topic: &TopicName, now: Timestamp) -> Option<Arc<Message>> {
        let tree = self.tree.read();
        let message = tree.root.find(topic.as_str())?;
        message.expiry_left(now).is_ok().then(|| Arc::clone(message))
    }

    /// Messages of ordinary topics behind `after`, in order of their topics, at most `limit`. Looks at
    /// all of them.
    pub(crate) fn after(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let mut first: BTreeMap<String, Arc<Message>> = BTreeMap::new();
        self.tree.read().root.collect(&["#"], true, &mut |message| {
            let topic = message.publish.topic.as_str();
            let is_behind = after.is_none_or(|after| topic > after);
            let last = first.last_key_value().map(|(last, _)| last.as_str());
            let has_room = first.len() < limit || last.is_some_and(|last| topic < last);
            if is_behind && has_room && message.expiry_left(now).is_ok() {
                first.insert(topic.to_owned(), Arc::clone(message));
                if first.len() > limit {
                    first.pop_last();
                }
            }
        });
        first.into_values().collect()
    }

    /// All messages whose topic `filter` matches and that have not expired.
    pub(crate) fn matching(&self, filter: &TopicFilter, now: Timestamp) -> Vec<Arc<Message>> {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let mut found = Vec::new();
        let tree = self.tree.read();
        tree.root.collect(&levels, true, &mut |message| {
            if message.expiry_left(now).is_ok() {
                found.push(Arc::clone(message));
            }
        });
        found
    }
}

impl Tree {
    fn remove(&mut self, topic: &str) {
        let levels: Vec<&str> = topic.split('/').collect();
        if let Some(message) = self.root.remove(&levels) {
            self.len -= 1;
            self.bytes -= message.bytes();
        }
    }
}

impl Node {
    fn find(&self, topic: &str) -> Option<&Arc<Message>> {
        let mut node = self;
        for level in topic.split('/') {
            node = node.levels.get(level)?;
        }
        node.message.as_ref()
    }

    fn child(&mut self, topic: &str) -> &mut Node {
        let mut node = self;
        for level in topic.split('/') {
            node = node.levels.entry(Box::from(level)).or_default();
        }
        node
    }

    /// Takes the message out and prunes what is empty behind it. As deep as a topic has levels.
    fn remove(&mut self, levels: &[&str]) -> Option<Arc<Message>> {
        let Some((level, rest)) = levels.split_first() else { return self.message.take() };
        let child = self.levels.get_mut(*level)?;
        let message = child.remove(rest);
        if child.message.is_none() && child.levels.is_empty() {
            self.levels.remove(*level);
        }
        message
    }

    /// As deep as the tree: a topic's levels are bounded. At the root, wildcards pass over `$` topics
    /// (MQTT 5, section 4.7.2).
    fn collect(&self, filter: &[&str], is_root: bool, visit: &mut impl FnMut(&Arc<Message>)) {
        let hidden = |level: &str| is_root && level.starts_with('$');
        match filter {
            [] => self.message.iter().for_each(visit),
            ["#"] => {
                self.message.iter().for_each(&mut *visit);
                for (_, child) in self.levels.iter().filter(|(level, _)| !hidden(level)) {
                    child.collect(filter, false, visit);
                }
            }
            ["+", rest @ ..] => {
                for (_, child) in self.levels.iter().filter(|(level, _)| !hidden(level)) {
                    child.collect(rest, false, visit);
                }
            }
            [level, rest @ ..] => {
                if let Some(child) = self.levels.get(*level) {
                    child.collect(rest, false, visit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::publish::Origin;
    use crate::publish::PublishProperties;
    use crate::publish::QoS;
    use crate::topic::Dialect;
    use crate::topic::TopicName;

    fn publish(topic: &str, payload: &'static str) -> Publish {
        Publish {
            topic: TopicName::parse(topic).unwrap(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: QoS::AtMostOnce,
            retain: true,
            received_at: Timestamp::EPOCH,
            origin: Origin::internal(),
            properties: None,
            hops: 0,
        }
    }

    #[test]
    fn a_full_store_replaces_and_removes_but_takes_no_new_topic() {
        let store = Retained::new(2);
        assert_eq!(store.set(&publish("a", "1")), Ok(()));
        assert_eq!(store.set(&publish("b", "1")), Ok(()));
        assert_eq!(store.set(&publish("c", "1")), Err(Full));
        assert_eq!(store.set(&publish("a", "2")), Ok(()));
        assert_eq!(store.set(&publish("b", "")), Ok(()));
        assert_eq!(store.set(&publish("c", "1")), Ok(()));
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn expired_messages_are_not_found() {
        let store = Retained::new(9);
        let properties = PublishProperties { message_expiry: Some(5), ..Default::default() };
        store
            .set(&Publish { properties: Some(Arc::new(properties)), ..publish("a", "1") })
            .unwrap();
        let filter = TopicFilter::parse("#").unwrap();
        assert_eq!(store.matching(&filter, Timestamp::from_millis(4_900)).len(), 1);
        assert_eq!(store.matching(&filter, Timestamp::from_millis(5_000)).len(), 0);
        store.set(&publish("$b", "1")).unwrap();
        store.forget_expired(Timestamp::from_millis(4_900));
        assert_eq!(store.len(), 2);
        store.forget_expired(Timestamp::from_millis(5_000));
        assert_eq!(store.len(), 1);
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_a_scan_finds(
            topics in proptest::collection::vec("\\$?[ab]{0,1}(/[ab]{0,1}){0,3}", 1..12),
            gone in proptest::collection::vec(any::<bool>(), 12),
            filter in "[ab+$]{1,2}(/([ab]|\\+)){0,3}(/#)?|#",
        ) {
            prop_assume!(topics.iter().all(|t| !t.is_empty()));
            let Ok(filter) = TopicFilter::parse(&filter) else { return Ok(()) };
            let store = Retained::new(100);
            let mut model = std::collections::BTreeSet::new();
            for topic in &topics {
                store.set(&publish(topic, "1")).unwrap();
                model.insert(topic.clone());
            }
            for (topic, _) in topics.iter().zip(&gone).filter(|(_, gone)| **gone) {
                store.set(&publish(topic, "")).unwrap();
                model.remove(topic);
            }
            let found: std::collections::BTreeSet<String> = store
                .matching(&filter, Timestamp::EPOCH)
                .iter()
                .map(|m| m.publish.topic.to_string())
                .collect();
            prop_assert_eq!(store.len(), model.len());
            let expected: std::collections::BTreeSet<String> =
                model.into_iter().filter(|t| filter.matches(t, Dialect::Mqtt)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
