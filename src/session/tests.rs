//! The store against a naive model, read anew after every commit.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rusqlite::Connection;
use uuid::Uuid;

use super::*;
use crate::publish::Origin;
use crate::publish::PublishProperties;
use crate::topic::TopicName;

#[derive(Debug)]
struct Nobody;

impl Owner for Nobody {
    fn stored(&self) {}
}

fn nobody() -> Arc<dyn Owner> {
    Arc::new(Nobody)
}

fn publish(content: u8, at: i64) -> Publish {
    let properties = PublishProperties { message_expiry: Some(60), ..Default::default() };
    Publish {
        topic: TopicName::parse("a/b").unwrap(),
        payload: Bytes::from(vec![content]),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(at),
        origin: Origin::internal(),
        properties: Some(Arc::new(properties)),
        hops: 0,
    }
}

fn terms(qos: QoS, ids: &[u32]) -> Terms {
    let subscription_ids = (!ids.is_empty()).then(|| Arc::from(ids));
    Terms { qos, retain: true, subscription_ids, share: Some(Arc::from("$share/g/a/#")) }
}

fn facts(session: u64, expiry: u64) -> Facts {
    let will = SavedWill {
        delay: Duration::from_secs(9),
        publish: Publish {
            retain: true,
            origin: Arc::new(Origin {
                client_id: Some(Arc::from(format!("client-{session}"))),
                principal: Some(Arc::from("somebody")),
                source_ip: Some([10, 0, 0, 1].into()),
                record: None,
            }),
            ..publish(7, 7)
        },
    };
    Facts {
        session,
        client_id: Arc::from(format!("client-{session}")),
        session_id: Uuid::from_u128(u128::from(session)),
        level: 5,
        expiry: Duration::from_secs(expiry),
        connected_at: Timestamp::from_millis(5),
        address: SocketAddr::from(([10, 0, 0, 1], 99)),
        will: Some(will),
    }
}

/// One session as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    expiry: u64,
    parked: bool,
    has_will: bool,
    filters: BTreeSet<u8>,
    received: BTreeSet<u16>,
    /// The content by number; `None` once released.
    queue: BTreeMap<u64, Option<u8>>,
}

#[derive(Clone, Debug)]
enum Step {
    Connect {
        session: u64,
        expiry: u64,
    },
    Park {
        session: u64,
        expiry: u64,
        keeps_will: bool,
    },
    WillDone {
        session: u64,
    },
    End {
        session: u64,
    },
    Subscribe {
        session: u64,
        filter: u8,
    },
    Unsubscribe {
        session: u64,
        filter: u8,
    },
    Receive {
        session: u64,
        packet_id: u16,
    },
    Complete {
        session: u64,
        packet_id: u16,
    },
    /// One message for these sessions; some of them are done with it before the commit.
    Deliver {
        sessions: BTreeSet<u64>,
        content: u8,
        done: BTreeSet<u64>,
    },
    Finish {
        session: u64,
        place: usize,
    },
    Release {
        session: u64,
        place: usize,
    },
    /// The next commit fails first.
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = || 1..4_u64;
    let sessions = || proptest::collection::btree_set(1..4_u64, 0..4);
    let step = prop_oneof![
        (session(), 0..3_u64).prop_map(|(session, expiry)| Step::Connect { session, expiry }),
        (session(), 0..3_u64, any::<bool>()).prop_map(|(session, expiry, keeps_will)| {
            Step::Park { session, expiry, keeps_will }
        }),
        session().prop_map(|session| Step::WillDone { session }),
        session().prop_map(|session| Step::End { session }),
        (session(), 0..3_u8).prop_map(|(session, filter)| Step::Subscribe { session, filter }),
        (session(), 0..3_u8).prop_map(|(session, filter)| Step::Unsubscribe { session, filter }),
        (session(), 1..4_u16).prop_map(|(session, packet_id)| Step::Receive { session, packet_id }),
        (session(), 1..4_u16)
            .prop_map(|(session, packet_id)| Step::Complete { session, packet_id }),
        (sessions(), any::<u8>(), sessions()).prop_map(|(sessions, content, done)| Step::Deliver {
            sessions,
            content,
            done
        }),
        (session(), 0..4_usize).prop_map(|(session, place)| Step::Finish { session, place }),
        (session(), 0..4_usize).prop_map(|(session, place)| Step::Release { session, place }),
        Just(Step::Fail),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The store as the journal drives it.
struct Store {
    writer: Connection,
    appender: Appender,
    ledger: Vec<Removal>,
    fails: bool,
}

impl Store {
    /// Writes in one transaction, after one that fails if it is to.
    fn commit(&mut self, parcels: &[Arc<Parcel>], changes: &[Change]) {
        let removals = std::mem::take(&mut self.ledger);
        let fails = std::mem::take(&mut self.fails);
        for is_last in if fails { vec![false, true] } else { vec![true] } {
            let tx = self.writer.transaction().unwrap();
            self.appender.begin();
            for change in changes {
                self.appender.change(&tx, change).unwrap();
            }
            for parcel in parcels {
                self.appender.push(&tx, parcel).unwrap();
            }
            for removal in &removals {
                self.appender.remove(&tx, removal).unwrap();
            }
            self.appender.flush(&tx).unwrap();
            match is_last {
                true => tx.commit().unwrap(),
                false => tx.rollback().unwrap(),
            }
        }
        self.ledger.extend(parcels.iter().filter_map(|parcel| parcel.end_writing()));
    }
}

fn filter(name: u8) -> Arc<str> {
    Arc::from(format!("a/{name}/#"))
}

fn saved(name: u8) -> SavedSubscription {
    SavedSubscription {
        filter: filter(name),
        qos: QoS::ExactlyOnce,
        no_local: name == 1,
        retain_as_published: name == 2,
        id: (name > 0).then_some(u32::from(name)),
    }
}

/// What a start finds.
fn found(storage: &Storage) -> (BTreeMap<u64, Model>, u64) {
    let loaded = load(storage).unwrap();
    let reader = Reader::new(storage.reader().unwrap());
    let mut models = BTreeMap::new();
    for one in loaded.sessions {
        let session = one.facts.session;
        let expected = facts(session, one.facts.expiry.as_secs());
        let will = expected.will.clone().filter(|_| one.facts.will.is_some());
        assert_eq!(one.facts, Facts { will, ..expected });
        let mut queue = BTreeMap::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let page = reader.page(&nobody(), session, from, u64::MAX).unwrap();
            assert!(page.damaged.is_empty());
            for Fetched { parcel, message } in page.messages {
                assert_eq!(parcel.terms, terms(QoS::ExactlyOnce, &[1, 300]));
                let content = message.map(|message| {
                    assert_eq!(message, publish(message.payload[0], 3));
                    message.payload[0]
                });
                queue.insert(parcel.number, content);
            }
            next = page.next;
        }
        assert_eq!(one.backlog.messages, queue.len());
        assert_eq!(one.backlog.bytes, 10 * queue.len());
        let name = |name: &SavedSubscription| (0..3).find(|n| saved(*n) == *name).unwrap();
        let model = Model {
            expiry: one.facts.expiry.as_secs(),
            parked: one.parked_at.is_some(),
            has_will: one.facts.will.is_some(),
            filters: one.subscriptions.iter().map(name).collect(),
            received: one.received.into_iter().collect(),
            queue,
        };
        models.insert(session, model);
    }
    let bodies = storage.reader().unwrap();
    let bodies = bodies.sqlite().query_row("SELECT count(*) FROM session_body", [], |r| r.get(0));
    (models, u64::try_from(bodies.unwrap_or(-1_i64)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_start_finds_what_was_committed_last(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (writer, _jobs) = storage.take_writer().unwrap();
        let appender = Appender::default();
        let mut store = Store { writer, appender, ledger: Vec::new(), fails: false };
        let mut models: BTreeMap<u64, Model> = BTreeMap::new();
        let mut live: BTreeMap<u64, BTreeMap<u64, Arc<Parcel>>> = BTreeMap::new();
        let mut numbers = 0;
        for step in steps {
            let (mut parcels, mut changes) = (Vec::new(), Vec::new());
            match step {
                Step::Connect { session, expiry } => {
                    changes.push(Change::Connected(Box::new(facts(session, expiry))));
                    let model = models.entry(session).or_default();
                    (model.expiry, model.parked, model.has_will) = (expiry, false, true);
                }
                Step::Fail => {
                    store.fails = true;
                    continue;
                }
                Step::Deliver { sessions, content, done } => {
                    let body = Body::new(publish(content, 3));
                    for session in sessions {
                        if !models.contains_key(&session) {
                            continue;
                        }
                        numbers += 1;
                        let terms = terms(QoS::ExactlyOnce, &[1, 300]);
                        let parcel =
                            Parcel::new(nobody(), session, numbers, 10, terms, Arc::clone(&body));
                        if done.contains(&session) {
                            prop_assert_eq!(parcel.finish(), None);
                        } else {
                            models.get_mut(&session).unwrap().queue.insert(numbers, Some(content));
                            live.entry(session).or_default().insert(numbers, Arc::clone(&parcel));
                        }
                        parcels.push(parcel);
                    }
                }
                Step::Finish { session, place } | Step::Release { session, place }
                    if !models.contains_key(&session)
                        || live.get(&session).is_none_or(|l| l.len() <= place) => continue,
                Step::Finish { session, place } => {
                    let live = live.get_mut(&session).unwrap();
                    let number = *live.keys().nth(place).unwrap();
                    let removal = live.remove(&number).unwrap().finish();
                    prop_assert!(removal.is_some());
                    store.ledger.extend(removal);
                    models.get_mut(&session).unwrap().queue.remove(&number);
                }
                Step::Release { session, place } => {
                    let (number, parcel) = live[&session].iter().nth(place).unwrap();
                    changes.push(Change::Released(Arc::clone(parcel)));
                    models.get_mut(&session).unwrap().queue.insert(*number, None);
                }
                Step::Park { session, expiry, keeps_will } => {
                    changes.push(Change::Parked {
                        session,
                        at: Timestamp::from_millis(6),
                        expiry: Duration::from_secs(expiry),
                        sent_until: 4,
                        keeps_will,
                    });
                    if let Some(model) = models.get_mut(&session) {
                        (model.expiry, model.parked) = (expiry, true);
                        model.has_will &= keeps_will;
                    }
                }
                Step::WillDone { session } => {
                    changes.push(Change::WillDone(session));
                    models.entry(session).and_modify(|model| model.has_will = false);
                }
                Step::End { session } => {
                    changes.push(Change::Ended(session));
                    models.remove(&session);
                    for parcel in live.remove(&session).unwrap_or_default().into_values() {
                        parcel.finish();
                    }
                }
                Step::Subscribe { session, filter } if models.contains_key(&session) => {
                    changes.push(Change::Subscribed { session, subscription: saved(filter) });
                    models.get_mut(&session).unwrap().filters.insert(filter);
                }
                Step::Unsubscribe { session, filter: name } => {
                    changes.push(Change::Unsubscribed { session, filter: filter(name) });
                    models.entry(session).and_modify(|model| { model.filters.remove(&name); });
                }
                Step::Receive { session, packet_id } if models.contains_key(&session) => {
                    changes.push(Change::Received { session, packet_id });
                    models.get_mut(&session).unwrap().received.insert(packet_id);
                }
                Step::Complete { session, packet_id } => {
                    changes.push(Change::Completed { session, packet_id });
                    models.entry(session).and_modify(|m| { m.received.remove(&packet_id); });
                }
                Step::Subscribe { .. } | Step::Receive { .. } => continue,
            }
            store.commit(&parcels, &changes);
            let (found, bodies) = found(&storage);
            prop_assert_eq!(&found, &models);
            let contents: usize = models.values().map(|model| model.queue.len()).sum();
            prop_assert!(bodies <= contents as u64, "{} bodies of {} messages", bodies, contents);
        }
    }
}

#[test]
fn a_message_for_many_is_stored_once_and_goes_with_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (writer, _jobs) = storage.take_writer().unwrap();
    let mut store =
        Store { writer, appender: Appender::default(), ledger: Vec::new(), fails: false };
    let body = Body::new(publish(1, 1));
    let make = |session| {
        let terms = terms(QoS::AtLeastOnce, &[]);
        Parcel::new(nobody(), session, 1, 10, terms, Arc::clone(&body))
    };
    let parcels: Vec<Arc<Parcel>> = (1..=3).map(make).collect();
    store.commit(&parcels, &[]);
    let bodies = |store: &Store| -> i64 {
        let sql = "SELECT count(*) FROM session_body";
        store.writer.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(bodies(&store), 1);
    for (done, parcel) in parcels.iter().enumerate() {
        assert_eq!(bodies(&store), 1, "{done} of three are done");
        store.ledger.extend(parcel.finish());
        store.commit(&[], &[]);
    }
    assert_eq!(bodies(&store), 0);
    assert_eq!(load(&storage).unwrap().remains, [0_u64; 0]);
}

#[test]
fn remains_of_a_session_are_found_and_its_number_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (writer, _jobs) = storage.take_writer().unwrap();
    let mut store =
        Store { writer, appender: Appender::default(), ledger: Vec::new(), fails: false };
    let terms = terms(QoS::AtLeastOnce, &[]);
    let parcel = Parcel::new(nobody(), 41, 1, 10, terms, Body::new(publish(1, 1)));
    store.commit(&[parcel], &[]);
    let loaded = load(&storage).unwrap();
    assert_eq!((loaded.remains, loaded.next), (vec![41], 42));
}

#[test]
fn a_start_ends_the_connections_of_the_last_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (writer, _jobs) = storage.take_writer().unwrap();
    let mut store =
        Store { writer, appender: Appender::default(), ledger: Vec::new(), fails: false };
    let connected = |session| Change::Connected(Box::new(facts(session, 60)));
    let parcel = |session, number| {
        let body = Body::new(publish(1, 1));
        Parcel::new(nobody(), session, number, 10, terms(QoS::AtLeastOnce, &[]), body)
    };
    store.commit(&[parcel(1, 7), parcel(9, 1)], &[connected(1), connected(2)]);
    let remains = load(&storage).unwrap().remains;
    assert_eq!(remains, [9]);
    for now in [100, 200] {
        table::begin(&store.writer, &remains, Timestamp::from_millis(now)).unwrap();
        let loaded = load(&storage).unwrap();
        let found: Vec<_> = loaded.sessions.iter().map(|s| (s.parked_at, s.sent_until)).collect();
        let at = Some(Timestamp::from_millis(100));
        assert_eq!(found, [(at, 8), (at, 0)], "another start knows when the first was");
        assert!(loaded.remains.is_empty());
    }
}
