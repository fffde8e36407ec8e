//! Who wants what: the index of subscriptions, and the routes that publishers keep.
//!
//! A publisher looks a topic up once and keeps the [`Route`] with the index's version; it looks up
//! again only after a subscription changed. So the hot path reads one atomic and takes no lock that
//! other connections take.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::session::Session;
use crate::publish::QoS;
use crate::topic::Dialect;
use crate::topic::Reserved;
use crate::topic::TopicError;
use crate::topic::TopicFilter;
use crate::topic::TopicTrie;
use crate::topic::may_hear_events;
use crate::topic::may_hear_statistics;

/// A filter as subscribed: plain, or `$share/GROUP/FILTER` (MQTT 5, section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionFilter {
    /// The whole text.
    text: Arc<str>,
    is_shared: bool,
    filter: TopicFilter,
}

impl SubscriptionFilter {
    pub(crate) fn parse(text: &str) -> Result<Self, TopicError> {
        let (is_shared, filter) = match text.strip_prefix("$share/") {
            None => (false, text),
            Some(shared) => match shared.split_once('/') {
                Some(("", _)) => return Err(TopicError::Empty),
                Some((group, _)) if group.contains(['+', '#']) => {
                    return Err(TopicError::PlusNotAlone);
                }
                Some((_, filter)) => (true, filter),
                None => return Err(TopicError::Empty),
            },
        };
        Ok(SubscriptionFilter {
            text: Arc::from(text),
            is_shared,
            filter: TopicFilter::parse(filter)?,
        })
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

/// One session's subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<u32>,
}

/// The members of a shared subscription.
#[derive(Debug)]
pub(crate) struct Group {
    /// The whole text of the filter.
    filter: Arc<str>,
    members: RwLock<Vec<Arc<Subscription>>>,
    next: AtomicUsize,
}

impl Group {
    fn new(filter: &Arc<str>) -> Group {
        let (members, next) = (RwLock::default(), AtomicUsize::new(0));
        Group { filter: Arc::clone(filter), members, next }
    }

    /// The whole text of the filter.
    pub(crate) fn filter(&self) -> &Arc<str> {
        &self.filter
    }

    /// The members in the order in which they are to be asked: round robin, connected ones first.
    pub(crate) fn in_turn(&self) -> SmallVec<[Arc<Subscription>; 4]> {
        self.turn_from(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The member that [`Group::in_turn`] would name first.
    pub(crate) fn next_in_turn(&self) -> Option<Arc<Subscription>> {
        self.turn_from(self.next.load(Ordering::Relaxed)).into_iter().next()
    }

    fn turn_from(&self, start: usize) -> SmallVec<[Arc<Subscription>; 4]> {
        let members = self.members.read();
        let at = start.checked_rem(members.len()).unwrap_or(0);
        let (behind, ahead) = members.split_at(at);
        let turn = || ahead.iter().chain(behind);
        let connected = turn().filter(|member| member.session.is_connected());
        let parked = turn().filter(|member| !member.session.is_connected());
        connected.chain(parked).cloned().collect()
    }
}

#[derive(Debug)]
enum Entry {
    Direct(Arc<Subscription>),
    Shared(Arc<Group>),
}

#[derive(Debug, Default)]
struct Index {
    trie: TopicTrie<Entry>,
    /// By the whole text of the filter.
    groups: HashMap<Arc<str>, Arc<Group>, foldhash::fast::RandomState>,
}

/// One subscriber of a route: a session, whatever number of its subscriptions match.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) session: Arc<Session>,
    /// The highest of the matching subscriptions.
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) ids: Option<Arc<[u32]>>,
}

/// Everybody who gets the messages of one topic.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) groups: Vec<Arc<Group>>,
}

/// The index of subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    index: RwLock<Index>,
    /// Grows with every change, under the write lock.
    version: AtomicU64,
    /// Filters that may match topics of events. Written under the write lock.
    event_filters: AtomicUsize,
    /// Filters that may match topics of statistics. Written under the write lock.
    statistic_filters: AtomicUsize,
}

impl Subscriptions {
    /// The version that a route must have to be good.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether anybody subscribes to what may be an event's topic.
    pub(crate) fn hears_events(&self) -> bool {
        self.event_filters.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody subscribes to what may be a statistic's topic.
    pub(crate) fn hears_statistics(&self) -> bool {
        self.statistic_filters.load(Ordering::Relaxed) > 0
    }

    /// Shared subscriptions, each counted once whatever its members.
    pub(crate) fn groups(&self) -> usize {
        self.index.read().groups.len()
    }

    /// Keeps count of filters that may match what the gateway says: `added` and `gone` entries of
    /// `filter`.
    fn count_own_filters(&self, filter: &TopicFilter, added: usize, gone: usize) {
        let counters = [
            (may_hear_events(filter.as_str()), &self.event_filters),
            (may_hear_statistics(filter.as_str()), &self.statistic_filters),
        ];
        for (_, counter) in counters.into_iter().filter(|(may_hear, _)| *may_hear) {
            counter.fetch_add(added, Ordering::Relaxed);
            counter.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    /// Adds a subscription, in place of the session's older one with the same filter.
    pub(crate) fn subscribe(&self, filter: &SubscriptionFilter, subscription: Subscription) {
        let key = subscription.session.key;
        let subscription = Arc::new(subscription);
        let mut index = self.index.write();
        if filter.is_shared() {
            let group = match index.groups.get(filter.text()) {
                Some(group) => Arc::clone(group),
                None => {
                    let group = Arc::new(Group::new(filter.text()));
                    index.groups.insert(Arc::clone(filter.text()), Arc::clone(&group));
                    index.trie.insert(filter.filter(), Entry::Shared(Arc::clone(&group)));
                    self.count_own_filters(filter.filter(), 1, 0);
                    self.version.fetch_add(1, Ordering::Release);
                    group
                }
            };
            let mut members = group.members.write();
            members.retain(|member| member.session.key != key);
            members.push(subscription);
            return;
        }
        let replaced = index.trie.remove(filter.filter(), |entry| is_of(entry, key));
        index.trie.insert(filter.filter(), Entry::Direct(subscription));
        self.count_own_filters(filter.filter(), 1, replaced);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Removes a session's subscription.
    pub(crate) fn unsubscribe(&self, filter: &SubscriptionFilter, key: u64) {
        let mut index = self.index.write();
        if !filter.is_shared() {
            let gone = index.trie.remove(filter.filter(), |entry| is_of(entry, key));
            self.count_own_filters(filter.filter(), 0, gone);
            self.version.fetch_add(1, Ordering::Release);
            return;
        }
        let Some(group) = index.groups.get(filter.text()).map(Arc::clone) else { return };
        let mut members = group.members.write();
        members.retain(|member| member.session.key != key);
        if members.is_empty() {
            index.groups.remove(filter.text());
            let gone = index.trie.remove(
                filter.filter(),
                |entry| matches!(entry, Entry::Shared(other) if Arc::ptr_eq(other, &group)),
            );
            self.count_own_filters(filter.filter(), 0, gone);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// The shared subscription with this text, if it has members.
    pub(crate) fn group(&self, filter: &str) -> Option<Arc<Group>> {
        self.index.read().groups.get(filter).map(Arc::clone)
    }

    /// Finds who gets the messages that `publisher` (a session's key) publishes to `topic`; `None`
    /// when nobody does: nobody can subscribe to what goes to one rule. With the version it is good for.
    pub(crate) fn route(&self, topic: &str, publisher: Option<u64>) -> (u64, Option<Arc<Route>>) {
        let index = self.index.read();
        if matches!(Reserved::of(topic), Some(Reserved::Ingest { .. })) {
            return (self.version(), None);
        }
        let mut direct: SmallVec<[&Arc<Subscription>; 8]> = SmallVec::new();
        let mut route = Route::default();
        let version = self.version();
        index.trie.for_each_match(topic, Dialect::Mqtt, |entry| match entry {
            Entry::Direct(subscription) => {
                if !subscription.no_local || publisher != Some(subscription.session.key) {
                    direct.push(subscription);
                }
            }
            Entry::Shared(group) => route.groups.push(Arc::clone(group)),
        });
        direct.sort_by_key(|subscription| subscription.session.key);
        route.recipients =
            direct.chunk_by(|a, b| a.session.key == b.session.key).filter_map(merge).collect();
        let is_empty = route.recipients.is_empty() && route.groups.is_empty();
        (version, (!is_empty).then(|| Arc::new(route)))
    }
}

fn is_of(entry: &Entry, key: u64) -> bool {
    matches!(entry, Entry::Direct(subscription) if subscription.session.key == key)
}

/// One copy for all the subscriptions of a session that match (MQTT 5, section 3.3.4).
fn merge(same: &[&Arc<Subscription>]) -> Option<Recipient> {
    let first = same.first()?;
    let ids: SmallVec<[u32; 4]> = same.iter().filter_map(|s| s.id).collect();
    Some(Recipient {
        session: Arc::clone(&first.session),
        qos: same.iter().map(|s| s.qos).max()?,
        retain_as_published: same.iter().any(|s| s.retain_as_published),
        ids: (!ids.is_empty()).then(|| Arc::from(ids.as_slice())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::session::QueueBounds;

    fn session(key: u64) -> Arc<Session> {
        let bounds = QueueBounds { messages_max: 9, bytes_max: 9999, kept_bytes_max: 9999 };
        Arc::new(Session::new(key, Arc::from(key.to_string()), bounds))
    }

    fn subscription(session: &Arc<Session>, qos: QoS, no_local: bool) -> Subscription {
        let session = Arc::clone(session);
        Subscription { session, qos, no_local, retain_as_published: false, id: None }
    }

    fn filter(text: &str) -> SubscriptionFilter {
        SubscriptionFilter::parse(text).unwrap()
    }

    fn keys(index: &Subscriptions, topic: &str, publisher: Option<u64>) -> Vec<(u64, QoS)> {
        let (_, route) = index.route(topic, publisher);
        route.map_or_else(Vec::new, |route| {
            route.recipients.iter().map(|r| (r.session.key, r.qos)).collect()
        })
    }

    #[test]
    fn a_session_stands_once_on_a_route_with_its_highest_qos() {
        let index = Subscriptions::default();
        let (one, two) = (session(1), session(2));
        index.subscribe(&filter("a/#"), subscription(&one, QoS::AtMostOnce, false));
        index.subscribe(&filter("a/+"), subscription(&one, QoS::AtLeastOnce, true));
        index.subscribe(&filter("a/b"), subscription(&two, QoS::AtMostOnce, true));
        let (zero, once) = (QoS::AtMostOnce, QoS::AtLeastOnce);
        assert_eq!(keys(&index, "a/b", None), [(1, once), (2, zero)]);
        assert_eq!(keys(&index, "a/b", Some(1)), [(1, zero), (2, zero)]);
        assert_eq!(keys(&index, "a/b", Some(2)), [(1, once)]);
        // The same filter again replaces the first.
        index.subscribe(&filter("a/#"), subscription(&one, QoS::ExactlyOnce, false));
        index.unsubscribe(&filter("a/+"), 1);
        assert_eq!(keys(&index, "a/x", None), [(1, QoS::ExactlyOnce)]);
    }

    #[test]
    fn a_change_makes_routes_old() {
        let index = Subscriptions::default();
        let one = session(1);
        let (version, route) = index.route("a", None);
        assert!(route.is_none() && version == index.version());
        index.subscribe(&filter("$share/g/a"), subscription(&one, QoS::AtMostOnce, false));
        assert_ne!(version, index.version());
        let (version, route) = index.route("a", None);
        assert_eq!(route.unwrap().groups[0].in_turn().len(), 1);
        index.unsubscribe(&filter("$share/g/a"), 1);
        assert_ne!(version, index.version());
        assert!(index.route("a", None).1.is_none());
        assert!(index.index.read().trie.is_empty() && index.index.read().groups.is_empty());
    }

    #[test]
    fn shared_filters_need_a_group_and_a_filter() {
        for bad in ["$share/", "$share/g", "$share//a", "$share/+/a", "$share/g/", "$share/g/a#"] {
            assert!(SubscriptionFilter::parse(bad).is_err(), "{bad}");
        }
        assert!(filter("$share/g//a").is_shared());
        assert!(!filter("$shared/g/a").is_shared());
    }
}
