//! Retained messages in memory, by topic level, so that a filter finds its own without a look at the
//! others. The journal keeps them on disk; here they are what new subscriptions get.
//!
//! A client's message is seen from the moment it is accepted ([`Retained::set`]), what a rule makes from
//! its commit. Two clients that write to one topic at once may be accepted in one order and committed in
//! the other; [`Retained::settle`] therefore says what was committed, and once nothing of a topic is on
//! its way, memory has what the disk has: the same message before a restart and after it.
//!
//! A subscription goes through the tree in steps ([`Walk`]), each a short look under the lock, so that
//! `#` over a full store holds up neither the publishers nor the worker that it runs on.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::RwLock;

use super::message::Message;
use crate::clock::Timestamp;
use crate::limits::RETAINED_STEP_NODES;
use crate::publish::Publish;
use crate::topic::TopicFilter;
use crate::topic::TopicName;

/// No room for another retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Node {
    levels: BTreeMap<Box<str>, Node>,
    shown: Option<Shown>,
    /// Messages of the topic that were accepted and are not committed.
    unsettled: u32,
}

/// What a new subscription gets.
#[derive(Debug)]
struct Shown {
    message: Arc<Message>,
    /// Of the change that put it there.
    number: u64,
}

#[derive(Debug, Default)]
struct Tree {
    root: Node,
    len: usize,
    bytes: usize,
    /// Changes so far.
    changes: u64,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Retained {
    messages_max: usize,
    bytes_max: usize,
    tree: RwLock<Tree>,
}

/// How far a subscription has come.
#[derive(Debug)]
pub(crate) struct Walk {
    filter: TopicFilter,
    /// What was changed later reaches the subscription as an ordinary message.
    changes: u64,
    /// The levels of the first node that has not been looked at; `None` at the beginning.
    next: Option<Vec<Box<str>>>,
}

impl Walk {
    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Whether there is no further step.
    pub(crate) fn is_done(&self) -> bool {
        self.next.is_none()
    }
}

impl Retained {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Retained { messages_max, bytes_max, tree: RwLock::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.read().len
    }

    /// What they take, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.tree.read().bytes
    }

    /// Keeps the message for its topic, or forgets the topic's when the payload is empty (MQTT 5,
    /// section 3.3.1.3). [`Retained::settle`] is to follow.
    pub(crate) fn set(&self, publish: &Publish) -> Result<(), Full> {
        let message = to_message(publish);
        let mut tree = self.tree.write();
        self.check_room(&tree, publish.topic.as_str(), message.as_ref())?;
        tree.root.child(publish.topic.as_str()).unsettled += 1;
        tree.show(publish.topic.as_str(), message);
        Ok(())
    }

    /// Makes sure that a message has room before it is committed, which is when it is seen:
    /// [`Retained::settle`].
    pub(crate) fn reserve(&self, publish: &Publish) -> Result<(), Full> {
        let message = to_message(publish);
        let mut tree = self.tree.write();
        self.check_room(&tree, publish.topic.as_str(), message.as_ref())?;
        tree.root.child(publish.topic.as_str()).unsettled += 1;
        Ok(())
    }

    fn check_room(
        &self,
        tree: &Tree,
        topic: &str,
        message: Option<&Arc<Message>>,
    ) -> Result<(), Full> {
        let Some(message) = message else { return Ok(()) };
        let old = tree.root.find(topic).map_or((0, 0), |shown| (1, shown.message.bytes()));
        let (len, bytes) = (tree.len - old.0 + 1, tree.bytes - old.1 + message.bytes());
        if len > self.messages_max || bytes > self.bytes_max { Err(Full) } else { Ok(()) }
    }

    /// Whether a message of the topic is kept.
    pub(crate) fn has(&self, topic: &TopicName) -> bool {
        self.tree.read().root.find(topic.as_str()).is_some()
    }

    /// The message is on disk. Unless another of its topic is on its way there, it is the one.
    pub(crate) fn settle(&self, publish: &Publish) {
        let topic = publish.topic.as_str();
        let mut tree = self.tree.write();
        let node = tree.root.child(topic);
        node.unsettled = node.unsettled.saturating_sub(1);
        if node.unsettled > 0 {
            return;
        }
        if is_same(node.shown.as_ref().map(|shown| &shown.message.publish), publish) {
            tree.prune(topic);
        } else {
            tree.show(topic, to_message(publish));
        }
    }

    /// Forgets what has expired.
    pub(crate) fn forget_expired(&self, now: Timestamp) {
        let mut next = Some(Vec::new());
        while let Some(path) = next.take() {
            let mut expired = Vec::new();
            next = self.step(&["#"], path, Hides::Nothing, &mut |shown| {
                if shown.message.expiry_left(now).is_err() {
                    expired.push(Arc::clone(&shown.message));
                }
            });
            for message in expired {
                let (topic, mut tree) = (message.publish.topic.as_str(), self.tree.write());
                // Another may have come to the topic since.
                let found = tree.root.find(topic);
                if found.is_some_and(|found| Arc::ptr_eq(&found.message, &message)) {
                    tree.show(topic, None);
                }
            }
        }
    }

    /// The message of a topic, unless it has expired.
    pub(crate) fn get(&self, topic: &TopicName, now: Timestamp) -> Option<Arc<Message>> {
        let tree = self.tree.read();
        let message = &tree.root.find(topic.as_str())?.message;
        message.expiry_left(now).is_ok().then(|| Arc::clone(message))
    }

    /// Messages of ordinary topics behind `after`, in order of their levels, at most `limit`.
    pub(crate) fn after(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        let mut next = Some(after.map(|after| after.split('/').map(Box::from).collect()));
        while let Some(path) = next.take() {
            let path = path.unwrap_or_default();
            let left = self.step(&["#"], path, Hides::OwnTopics, &mut |shown| {
                let is_after = Some(shown.message.publish.topic.as_str()) != after;
                if is_after && found.len() < limit && shown.message.expiry_left(now).is_ok() {
                    found.push(Arc::clone(&shown.message));
                }
            });
            next = left.filter(|_| found.len() < limit).map(Some);
        }
        found
    }

    /// A walk over the messages whose topic `filter` matches now.
    pub(crate) fn walk(&self, filter: &TopicFilter) -> Walk {
        let changes = self.tree.read().changes;
        Walk { filter: filter.clone(), changes, next: Some(Vec::new()) }
    }

    /// The next messages of a walk that have not expired; `None` at its end. A step may find none.
    pub(crate) fn take_step(&self, walk: &mut Walk, now: Timestamp) -> Option<Vec<Arc<Message>>> {
        let path = walk.next.take()?;
        let levels: Vec<&str> = walk.filter.as_str().split('/').collect();
        let mut found = Vec::new();
        walk.next = self.step(&levels, path, Hides::OwnTopics, &mut |shown| {
            if shown.number <= walk.changes && shown.message.expiry_left(now).is_ok() {
                found.push(Arc::clone(&shown.message));
            }
        });
        Some(found)
    }

    /// Looks at [`RETAINED_STEP_NODES`] nodes from `path` on. Answers where to go on.
    fn step(
        &self,
        filter: &[&str],
        path: Vec<Box<str>>,
        hides: Hides,
        visit: &mut impl FnMut(&Shown),
    ) -> Option<Vec<Box<str>>> {
        let tree = self.tree.read();
        let mut step = Step { nodes_left: RETAINED_STEP_NODES, path: Vec::new(), visit };
        match tree.root.collect(filter, Some(&path), hides, &mut step) {
            ControlFlow::Break(()) => Some(step.path.into_iter().map(Box::from).collect()),
            ControlFlow::Continue(()) => None,
        }
    }
}

/// A message as it is shown; none when it removes its topic's.
fn to_message(publish: &Publish) -> Option<Arc<Message>> {
    (!publish.payload.is_empty()).then(|| Message::new(publish))
}

/// Whether what is shown is `publish`, which may be in another buffer.
fn is_same(shown: Option<&Publish>, publish: &Publish) -> bool {
    match shown {
        None => publish.payload.is_empty(),
        Some(shown) => shown == publish,
    }
}

/// Which topics wildcards at the root pass over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hides {
    Nothing,
    /// Those that begin with `$` (MQTT 5, section 4.7.2).
    OwnTopics,
}

/// A bounded look at the tree.
struct Step<'t, F> {
    nodes_left: usize,
    /// Levels of the node that is looked at.
    path: Vec<&'t str>,
    visit: &'t mut F,
}

impl Tree {
    /// What new subscriptions get of a topic from now on.
    fn show(&mut self, topic: &str, message: Option<Arc<Message>>) {
        self.changes += 1;
        let number = self.changes;
        let node = self.root.child(topic);
        if let Some(message) = &message {
            self.len += 1;
            self.bytes += message.bytes();
        }
        let old =
            std::mem::replace(&mut node.shown, message.map(|message| Shown { message, number }));
        if let Some(old) = old {
            self.len -= 1;
            self.bytes -= old.message.bytes();
        }
        self.prune(topic);
    }

    fn prune(&mut self, topic: &str) {
        if self.root.node(topic).is_some_and(Node::is_empty) {
            let levels: Vec<&str> = topic.split('/').collect();
            self.root.prune(&levels);
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.shown.is_none() && self.levels.is_empty() && self.unsettled == 0
    }

    fn node(&self, topic: &str) -> Option<&Node> {
        let mut node = self;
        for level in topic.split('/') {
            node = node.levels.get(level)?;
        }
        Some(node)
    }

    fn find(&self, topic: &str) -> Option<&Shown> {
        self.node(topic)?.shown.as_ref()
    }

    fn child(&mut self, topic: &str) -> &mut Node {
        let mut node = self;
        for level in topic.split('/') {
            // Looked up twice, so that a topic that is there costs no allocation.
            if !node.levels.contains_key(level) {
                node.levels.insert(Box::from(level), Node::default());
            }
            node = node.levels.get_mut(level).expect("it has just been put there");
        }
        node
    }

    /// Takes away the nodes on the way to `levels` that are empty. As deep as a topic has levels.
    fn prune(&mut self, levels: &[&str]) {
        let Some((level, rest)) = levels.split_first() else { return };
        let Some(child) = self.levels.get_mut(*level) else { return };
        child.prune(rest);
        if child.is_empty() {
            self.levels.remove(*level);
        }
    }

    /// Visits what `filter` matches from the node at `from` on, in order; a node comes before those
    /// below it. As deep as the tree: a topic's levels are bounded.
    fn collect<'t, F: FnMut(&Shown)>(
        &'t self,
        filter: &[&str],
        from: Option<&[Box<str>]>,
        hides: Hides,
        step: &mut Step<'t, F>,
    ) -> ControlFlow<()> {
        // A node on the way to `from` has been looked at.
        if from.is_none_or(<[_]>::is_empty) {
            step.nodes_left = match step.nodes_left.checked_sub(1) {
                Some(left) => left,
                None => return ControlFlow::Break(()),
            };
            if matches!(filter, [] | ["#"]) {
                self.shown.iter().for_each(&mut *step.visit);
            }
        }
        match filter {
            [] => ControlFlow::Continue(()),
            ["#"] => self.collect_children(filter, from, hides, step),
            ["+", rest @ ..] => self.collect_children(rest, from, hides, step),
            [level, rest @ ..] => match self.levels.get_key_value(*level) {
                Some((level, child)) => child.enter(level, rest, from, step),
                None => ControlFlow::Continue(()),
            },
        }
    }

    /// Every child that a wildcard stands for.
    fn collect_children<'t, F: FnMut(&Shown)>(
        &'t self,
        filter: &[&str],
        from: Option<&[Box<str>]>,
        hides: Hides,
        step: &mut Step<'t, F>,
    ) -> ControlFlow<()> {
        let first = from.and_then(<[_]>::first);
        let first = first.map_or(Bound::Unbounded, |level| Bound::Included(&**level));
        for (level, child) in self.levels.range::<str, _>((first, Bound::Unbounded)) {
            if hides == Hides::OwnTopics && level.starts_with('$') {
                continue;
            }
            child.enter(level, filter, from, step)?;
        }
        ControlFlow::Continue(())
    }

    /// Goes down to a child, on the way to `from` if that is below it.
    fn enter<'t, F: FnMut(&Shown)>(
        &'t self,
        level: &'t str,
        filter: &[&str],
        from: Option<&[Box<str>]>,
        step: &mut Step<'t, F>,
    ) -> ControlFlow<()> {
        step.path.push(level);
        let from = from.and_then(<[_]>::split_first);
        let from = from.filter(|(first, _)| ***first == *level).map(|(_, rest)| rest);
        self.collect(filter, from, Hides::Nothing, step)?;
        step.path.pop();
        ControlFlow::Continue(())
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

    /// What a new subscription to `filter` gets.
    fn matching(store: &Retained, filter: &TopicFilter, now: Timestamp) -> Vec<Arc<Message>> {
        let mut walk = store.walk(filter);
        std::iter::from_fn(|| store.take_step(&mut walk, now)).flatten().collect()
    }

    #[test]
    fn a_full_store_replaces_and_removes_but_takes_no_new_topic() {
        let store = Retained::new(2, usize::MAX);
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
        let store = Retained::new(9, usize::MAX);
        let properties = PublishProperties { message_expiry: Some(5), ..Default::default() };
        store
            .set(&Publish { properties: Some(Arc::new(properties)), ..publish("a", "1") })
            .unwrap();
        let filter = TopicFilter::parse("#").unwrap();
        assert_eq!(matching(&store, &filter, Timestamp::from_millis(4_900)).len(), 1);
        assert_eq!(matching(&store, &filter, Timestamp::from_millis(5_000)).len(), 0);
        store.set(&publish("$b", "1")).unwrap();
        store.forget_expired(Timestamp::from_millis(4_900));
        assert_eq!(store.len(), 2);
        store.forget_expired(Timestamp::from_millis(5_000));
        assert_eq!(store.len(), 1);
    }

    fn shown(store: &Retained, topic: &str) -> Option<String> {
        let message = store.get(&TopicName::parse(topic).unwrap(), Timestamp::EPOCH)?;
        Some(String::from_utf8(message.publish.payload.to_vec()).unwrap())
    }

    #[test]
    fn memory_has_what_was_committed_last() {
        let store = Retained::new(9, usize::MAX);
        let (first, second) = (publish("a", "1"), publish("a", "2"));
        store.set(&first).unwrap();
        store.set(&second).unwrap();
        // Committed the other way round: seen is what was accepted last until both are on disk.
        store.settle(&second);
        assert_eq!(shown(&store, "a").as_deref(), Some("2"));
        store.settle(&first);
        assert_eq!(shown(&store, "a").as_deref(), Some("1"));
        assert_eq!((store.len(), store.bytes()), (1, Message::new(&first).bytes()));

        let gone = publish("a", "");
        store.set(&second).unwrap();
        store.set(&gone).unwrap();
        store.settle(&gone);
        assert_eq!(shown(&store, "a"), None);
        store.settle(&second);
        assert_eq!(shown(&store, "a").as_deref(), Some("2"));
        store.set(&gone).unwrap();
        store.settle(&gone);
        assert_eq!((store.len(), store.bytes()), (0, 0));
        assert!(store.tree.read().root.is_empty(), "nothing is left of a topic without a message");
    }

    #[test]
    fn what_a_rule_makes_is_seen_from_its_commit() {
        let store = Retained::new(1, usize::MAX);
        let made = publish("a", "made");
        store.reserve(&made).unwrap();
        assert_eq!(shown(&store, "a"), None);
        let sent = publish("a", "sent");
        store.set(&sent).unwrap();
        store.settle(&made);
        assert_eq!(shown(&store, "a").as_deref(), Some("sent"), "it is committed after the other");
        store.settle(&sent);
        assert_eq!(shown(&store, "a").as_deref(), Some("sent"));
        store.reserve(&made).unwrap();
        store.settle(&made);
        assert_eq!(shown(&store, "a").as_deref(), Some("made"));
        assert_eq!(store.reserve(&publish("b", "made")), Err(Full));
        assert!(store.tree.read().root.node("b").is_none());
    }

    #[test]
    fn a_walk_looks_at_a_bounded_number_of_topics_at_once_and_at_none_that_came_later() {
        let topics = RETAINED_STEP_NODES * 3;
        let store = Retained::new(topics + 1, usize::MAX);
        for n in 0..topics {
            store.set(&publish(&format!("t/{n}/x"), "1")).unwrap();
        }
        let filter = TopicFilter::parse("t/+/x").unwrap();
        let mut walk = store.walk(&filter);
        store.set(&publish("t/later/x", "1")).unwrap();
        let (mut steps, mut found) = (0, Vec::new());
        while let Some(mut more) = store.take_step(&mut walk, Timestamp::EPOCH) {
            steps += 1;
            assert!(more.len() <= RETAINED_STEP_NODES);
            found.append(&mut more);
            // Topics go and come beside it.
            let gone = format!("t/{}/x", topics - steps);
            if !found.iter().any(|found| found.publish.topic.as_str() == gone) {
                store.set(&publish(&gone, "")).unwrap();
            }
        }
        assert!(walk.is_done());
        // Two nodes for each topic, and the two above them all.
        assert_eq!(steps, (2 * topics + 2).div_ceil(RETAINED_STEP_NODES));
        let distinct: std::collections::BTreeSet<&str> =
            found.iter().map(|found| found.publish.topic.as_str()).collect();
        assert_eq!(distinct.len(), found.len(), "none comes twice");
        assert!(!distinct.contains("t/later/x"));
        assert!(found.len() + steps >= topics, "only what went is missing");

        let mut unmatched = store.walk(&TopicFilter::parse("t/+/y").unwrap());
        let mut found = 0;
        while let Some(more) = store.take_step(&mut unmatched, Timestamp::EPOCH) {
            found += more.len();
        }
        assert_eq!(found, 0);
    }

    #[test]
    fn pages_go_on_behind_a_topic_in_order_of_levels() {
        let store = Retained::new(9, usize::MAX);
        for topic in ["b", "a/b", "a", "$own", "a-b"] {
            store.set(&publish(topic, "1")).unwrap();
        }
        let page = |after, limit| -> Vec<String> {
            let messages = store.after(after, limit, Timestamp::EPOCH);
            messages.iter().map(|message| message.publish.topic.to_string()).collect()
        };
        assert_eq!(page(None, 2), ["a", "a/b"]);
        assert_eq!(page(Some("a/b"), 2), ["a-b", "b"]);
        assert_eq!(page(Some("a"), 1), ["a/b"]);
        assert_eq!(page(Some("gone"), 9), [""; 0]);
        assert_eq!(page(Some("a/a/gone"), 1), ["a/b"]);
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
            let store = Retained::new(100, usize::MAX);
            let mut model = std::collections::BTreeSet::new();
            for topic in &topics {
                store.set(&publish(topic, "1")).unwrap();
                model.insert(topic.clone());
            }
            for (topic, _) in topics.iter().zip(&gone).filter(|(_, gone)| **gone) {
                store.set(&publish(topic, "")).unwrap();
                model.remove(topic);
            }
            let found: std::collections::BTreeSet<String> = matching(&store, &filter, Timestamp::EPOCH)
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
