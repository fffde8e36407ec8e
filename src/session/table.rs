//! The tables of sessions.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::Row;
use rusqlite::Transaction;
use rusqlite::params;
use uuid::Uuid;

use super::Backlog;
use super::Change;
use super::Facts;
use super::Fetched;
use super::Owner;
use super::Page;
use super::Parcel;
use super::Removal;
use super::Saved;
use super::SavedSessions;
use super::SavedSubscription;
use super::SavedWill;
use super::Terms;
use crate::clock::Timestamp;
use crate::limits::SESSION_PAGE_BYTES_MAX;
use crate::limits::SESSION_PAGE_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;
use crate::storage::message;
use crate::topic::TopicName;

/// Version 7.
pub(crate) const SCHEMA: &str = "
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL UNIQUE,
    session_id BLOB NOT NULL,
    level INTEGER NOT NULL,
    expiry INTEGER NOT NULL,
    connected_at INTEGER NOT NULL,
    address TEXT NOT NULL,
    parked_at INTEGER,
    sent_until INTEGER NOT NULL,
    will BLOB
) STRICT;
CREATE TABLE session_subscription (
    session INTEGER NOT NULL,
    filter TEXT NOT NULL,
    qos INTEGER NOT NULL,
    no_local INTEGER NOT NULL,
    retain_as_published INTEGER NOT NULL,
    id INTEGER,
    PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;
CREATE TABLE session_received (
    session INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE session_queue (
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    is_released INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    body_row INTEGER,
    terms BLOB NOT NULL,
    body BLOB,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_queue_body ON session_queue (body_row) WHERE body_row IS NOT NULL;
CREATE TABLE session_body (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
";

const VERSION: u8 = 1;

/// Writes into the journal's transactions.
#[derive(Debug, Default)]
pub struct Appender {
    /// Counts transactions, also those that failed.
    attempt: u64,
    /// The last row of `session_body` that was given out; `None` until the table has been asked.
    last_body: Option<i64>,
    /// Bodies that may have lost their last row in this transaction.
    orphans: BTreeSet<i64>,
    /// Reused.
    scratch: FrameWriter,
}

impl Appender {
    /// A transaction begins.
    pub(crate) fn begin(&mut self) {
        self.attempt += 1;
        self.orphans.clear();
    }

    /// Writes a message for a session, unless nobody wants it any more.
    pub(crate) fn push(&mut self, tx: &Transaction<'_>, parcel: &Parcel) -> rusqlite::Result<()> {
        let Some(body) = parcel.body.as_ref().filter(|_| parcel.begin_writing()) else {
            return Ok(());
        };
        if !body.is_shared() {
            return insert(tx, parcel, Some(&body.publish), &mut self.scratch);
        }
        let mut row = body.row.load(Ordering::Relaxed);
        if row == 0 {
            row = self.next_body(tx)?;
            body.row.store(row, Ordering::Relaxed);
        }
        if body.attempt.swap(self.attempt, Ordering::Relaxed) != self.attempt {
            // It may be there since an earlier commit, and it may be gone again.
            insert_body(tx, row, &body.publish, &mut self.scratch)?;
        }
        parcel.body_row.store(row, Ordering::Relaxed);
        insert(tx, parcel, None, &mut self.scratch)
    }

    /// Makes a change of a session.
    pub(crate) fn change(&mut self, tx: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
        match change {
            Change::Connected(facts) => save(tx, facts, &mut self.scratch),
            Change::Parked { session, at, expiry, sent_until, keeps_will } => {
                park(tx, *session, *at, *expiry, *sent_until, *keeps_will)
            }
            Change::WillDone(session) => forget_will(tx, *session),
            Change::Ended(session) => end(tx, *session, &mut self.orphans),
            Change::Subscribed { session, subscription } => subscribe(tx, *session, subscription),
            Change::Unsubscribed { session, filter } => unsubscribe(tx, *session, filter),
            Change::Received { session, packet_id } => receive(tx, *session, *packet_id),
            Change::Completed { session, packet_id } => complete(tx, *session, *packet_id),
            Change::Released(parcel) => {
                let removal = parcel.removal();
                self.orphan(&removal);
                release(tx, &removal)
            }
            Change::Removed(removal) => self.remove(tx, removal),
        }
    }

    /// Removes a message of a session.
    pub(crate) fn remove(
        &mut self,
        tx: &Transaction<'_>,
        removal: &Removal,
    ) -> rusqlite::Result<()> {
        self.orphan(removal);
        remove(tx, removal)
    }

    fn orphan(&mut self, removal: &Removal) {
        if removal.body_row != 0 {
            self.orphans.insert(removal.body_row);
        }
    }

    /// Behind everything else of a transaction: removes the bodies that nobody waits for any more.
    pub(crate) fn flush(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        for row in &self.orphans {
            remove_orphan(tx, *row)?;
        }
        Ok(())
    }

    fn next_body(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<i64> {
        let last = match self.last_body {
            Some(last) => last,
            None => last_body(tx)?,
        };
        self.last_body = Some(last + 1);
        Ok(last + 1)
    }
}

/// Numbers count up from the last start's: they do not come near 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

pub(super) fn save(
    tx: &Connection,
    facts: &Facts,
    scratch: &mut FrameWriter,
) -> rusqlite::Result<()> {
    let will = facts.will.as_ref().map(|will| {
        scratch.clear();
        encode_will(will, scratch);
        scratch.seal()
    });
    // In place of a session of the same client that is about to be ended, too.
    tx.prepare_cached(
        "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, 0, ?8)",
    )?
    .execute(params![
        signed(facts.session),
        facts.client_id,
        facts.session_id.as_bytes(),
        facts.level,
        signed(facts.expiry.as_secs()),
        facts.connected_at.as_millis(),
        facts.address.to_string(),
        will,
    ])?;
    Ok(())
}

pub(super) fn park(
    tx: &Connection,
    session: u64,
    at: Timestamp,
    expiry: Duration,
    sent_until: u64,
    keeps_will: bool,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE session SET parked_at = ?2, expiry = ?3, sent_until = ?4, will = iif(?5, will, NULL)
            WHERE id = ?1",
    )?
    .execute(params![
        signed(session),
        at.as_millis(),
        signed(expiry.as_secs()),
        signed(sent_until),
        keeps_will
    ])?;
    Ok(())
}

pub(super) fn forget_will(tx: &Connection, session: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE session SET will = NULL WHERE id = ?1")?
        .execute([signed(session)])?;
    Ok(())
}

/// Removes everything of a session; bodies that it had a part in go to `orphans`.
pub(super) fn end(
    tx: &Connection,
    session: u64,
    orphans: &mut BTreeSet<i64>,
) -> rusqlite::Result<()> {
    let session = signed(session);
    let mut bodies = tx.prepare_cached(
        "SELECT body_row FROM session_queue WHERE session = ?1 AND body_row IS NOT NULL",
    )?;
    for row in bodies.query_map([session], |row| row.get(0))? {
        orphans.insert(row?);
    }
    for sql in [
        "DELETE FROM session_queue WHERE session = ?1",
        "DELETE FROM session_received WHERE session = ?1",
        "DELETE FROM session_subscription WHERE session = ?1",
        "DELETE FROM session WHERE id = ?1",
    ] {
        tx.prepare_cached(sql)?.execute([session])?;
    }
    Ok(())
}

pub(super) fn begin(tx: &Connection, remains: &[u64], now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE session SET parked_at = ?1, sent_until =
            (SELECT ifnull(max(number) + 1, 0) FROM session_queue WHERE session = session.id)
            WHERE parked_at IS NULL",
    )?
    .execute([now.as_millis()])?;
    let mut orphans = BTreeSet::new();
    for session in remains {
        end(tx, *session, &mut orphans)?;
    }
    orphans.into_iter().try_for_each(|row| remove_orphan(tx, row))
}

pub(super) fn subscribe(
    tx: &Connection,
    session: u64,
    subscription: &SavedSubscription,
) -> rusqlite::Result<()> {
    let SavedSubscription { filter, qos, no_local, retain_as_published, id } = subscription;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO session_subscription VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        signed(session),
        filter,
        *qos as u8,
        no_local,
        retain_as_published,
        id
    ])?;
    Ok(())
}

pub(super) fn unsubscribe(tx: &Connection, session: u64, filter: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM session_subscription WHERE session = ?1 AND filter = ?2")?
        .execute(params![signed(session), filter])?;
    Ok(())
}

pub(super) fn receive(tx: &Connection, session: u64, packet_id: u16) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO session_received VALUES (?1, ?2)")?
        .execute(params![signed(session), packet_id])?;
    Ok(())
}

pub(super) fn complete(tx: &Connection, session: u64, packet_id: u16) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM session_received WHERE session = ?1 AND packet_id = ?2")?
        .execute(params![signed(session), packet_id])?;
    Ok(())
}

/// Writes a message of a session, with its content unless that is in a row of its own.
pub(super) fn insert(
    tx: &Connection,
    parcel: &Parcel,
    content: Option<&Publish>,
    scratch: &mut FrameWriter,
) -> rusqlite::Result<()> {
    let mut terms = FrameWriter::default();
    encode_terms(&parcel.terms, &mut terms);
    let publish = parcel.body.as_ref().map(|body| &body.publish);
    let received_at = publish.map_or(Timestamp::EPOCH, |publish| publish.received_at);
    let content = content.map(|publish| {
        scratch.clear();
        encode_body(publish, scratch);
        scratch.seal()
    });
    let body_row = parcel.removal().body_row;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO session_queue VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        signed(parcel.session),
        signed(parcel.number),
        i64::try_from(parcel.bytes).unwrap_or(i64::MAX),
        received_at.as_millis(),
        content.is_none().then_some(body_row),
        terms.seal(),
        content,
    ])?;
    Ok(())
}

pub(super) fn insert_body(
    tx: &Connection,
    row: i64,
    publish: &Publish,
    scratch: &mut FrameWriter,
) -> rusqlite::Result<()> {
    scratch.clear();
    encode_body(publish, scratch);
    tx.prepare_cached("INSERT OR IGNORE INTO session_body VALUES (?1, ?2)")?
        .execute(params![row, scratch.seal()])?;
    Ok(())
}

pub(super) fn last_body(tx: &Connection) -> rusqlite::Result<i64> {
    tx.query_row("SELECT ifnull(max(id), 0) FROM session_body", [], |row| row.get(0))
}

pub(super) fn release(tx: &Connection, removal: &Removal) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE session_queue SET is_released = 1, body = NULL, body_row = NULL
            WHERE session = ?1 AND number = ?2",
    )?
    .execute([signed(removal.session), signed(removal.number)])?;
    Ok(())
}

pub(super) fn remove(tx: &Connection, removal: &Removal) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM session_queue WHERE session = ?1 AND number = ?2")?
        .execute([signed(removal.session), signed(removal.number)])?;
    Ok(())
}

pub(super) fn remove_orphan(tx: &Connection, row: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM session_body WHERE id = ?1
            AND NOT EXISTS (SELECT 1 FROM session_queue WHERE body_row = ?1)",
    )?
    .execute([row])?;
    Ok(())
}

pub(super) fn remove_old(
    tx: &Connection,
    session: u64,
    until: u64,
    before: Timestamp,
) -> rusqlite::Result<(usize, usize)> {
    let mut delete = tx.prepare_cached(
        "DELETE FROM session_queue
            WHERE session = ?1 AND number < ?2 AND received_at < ?3 AND is_released = 0
            RETURNING bytes, body_row",
    )?;
    let which = params![signed(session), signed(until), before.as_millis()];
    let removed = delete.query_map(which, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let removed: Vec<(i64, Option<i64>)> = removed.collect::<rusqlite::Result<_>>()?;
    let bodies: BTreeSet<i64> = removed.iter().filter_map(|(_, body_row)| *body_row).collect();
    for row in bodies {
        remove_orphan(tx, row)?;
    }
    Ok((removed.len(), removed.iter().map(|(bytes, _)| count(*bytes)).sum()))
}

/// Everything but the messages themselves.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<SavedSessions> {
    let mut found = SavedSessions::default();
    let mut places = HashMap::new();
    let mut select = connection.prepare("SELECT * FROM session ORDER BY id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let saved = saved(row)?;
        places.insert(saved.facts.session, found.sessions.len());
        found.next = found.next.max(saved.facts.session);
        found.sessions.push(saved);
    }
    let mut select = connection.prepare("SELECT * FROM session_subscription ORDER BY session")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Some(place) = places.get(&unsigned(row.get(0)?)) else { continue };
        let subscription = SavedSubscription {
            filter: Arc::from(row.get_ref(1)?.as_str()?),
            qos: QoS::from_bits(row.get(2)?).unwrap_or(QoS::ExactlyOnce),
            no_local: row.get(3)?,
            retain_as_published: row.get(4)?,
            id: row.get(5)?,
        };
        found.sessions[*place].subscriptions.push(subscription);
    }
    let mut select = connection.prepare("SELECT session, packet_id FROM session_received")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Some(place) = places.get(&unsigned(row.get(0)?)) else { continue };
        found.sessions[*place].received.push(row.get(1)?);
    }
    let mut select = connection.prepare(
        "SELECT session, count(*), sum(bytes), min(number), max(number) FROM session_queue
            GROUP BY session",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let session = unsigned(row.get(0)?);
        let backlog = Backlog {
            messages: count(row.get(1)?),
            bytes: count(row.get(2)?),
            from: unsigned(row.get(3)?),
            until: unsigned(row.get::<_, i64>(4)?) + 1,
        };
        match places.get(&session) {
            Some(place) => found.sessions[*place].backlog = backlog,
            None => found.remains.push(session),
        }
        found.next = found.next.max(session);
    }
    found.next += 1;
    Ok(found)
}

fn saved(row: &Row<'_>) -> rusqlite::Result<Saved> {
    let client_id: Arc<str> = Arc::from(row.get_ref(1)?.as_str()?);
    let connected_at = Timestamp::from_millis(row.get(5)?);
    let address: Option<SocketAddr> = row.get_ref(6)?.as_str()?.parse().ok();
    let address = address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let will = row.get_ref(9)?.as_blob_or_null()?;
    let will = will.and_then(|blob| {
        decode_will(blob, &client_id, address)
            .inspect_err(|error| tracing::error!(%client_id, %error, "a saved will is lost"))
            .ok()
    });
    Ok(Saved {
        facts: Facts {
            session: unsigned(row.get(0)?),
            session_id: Uuid::from_slice(row.get_ref(2)?.as_blob()?).unwrap_or_default(),
            level: row.get(3)?,
            expiry: Duration::from_secs(unsigned(row.get(4)?)),
            connected_at,
            address,
            will,
            client_id,
        },
        parked_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
        sent_until: unsigned(row.get(8)?),
        subscriptions: Vec::new(),
        received: Vec::new(),
        backlog: Backlog::default(),
    })
}

pub(super) fn page(
    connection: &Connection,
    owner: &Arc<dyn Owner>,
    session: u64,
    from: u64,
    until: u64,
) -> rusqlite::Result<Page> {
    let mut select = connection.prepare_cached(
        "SELECT q.number, q.is_released, q.bytes, q.body_row, q.terms, ifnull(q.body, b.body)
            FROM session_queue q LEFT JOIN session_body b ON b.id = q.body_row
            WHERE q.session = ?1 AND q.number >= ?2 AND q.number < ?3 ORDER BY q.number",
    )?;
    let mut rows = select.query(params![signed(session), signed(from), signed(until)])?;
    let (mut page, mut bytes) = (Page::default(), 0);
    while let Some(row) = rows.next()? {
        let number = unsigned(row.get(0)?);
        if page.messages.len() >= SESSION_PAGE_MAX || bytes >= SESSION_PAGE_BYTES_MAX {
            page.next = Some(number);
            break;
        }
        let body_row = row.get::<_, Option<i64>>(3)?.unwrap_or_default();
        let removal = Removal { session, number, body_row };
        let size = count(row.get(2)?);
        bytes += size;
        let terms = row.get_ref(4)?.as_blob()?;
        let body = row.get_ref(5)?.as_blob_or_null()?;
        let is_released: bool = row.get(1)?;
        match fetched(owner, removal, size, is_released, terms, body) {
            Ok(fetched) => page.messages.push(fetched),
            Err(error) => {
                tracing::error!(session, number, %error, "a message of a session cannot be read");
                page.damaged.push(removal);
            }
        }
    }
    Ok(page)
}

fn fetched(
    owner: &Arc<dyn Owner>,
    removal: Removal,
    bytes: usize,
    is_released: bool,
    terms: &[u8],
    body: Option<&[u8]>,
) -> Result<Fetched, Damaged> {
    let terms = decode_terms(terms)?;
    let message = match (is_released, body) {
        (true, _) => None,
        (false, Some(body)) => Some(decode_body(body)?),
        (false, None) => return Err(Damaged("its content is missing")),
    };
    let parcel = Parcel::stored(Arc::clone(owner), removal, bytes, terms);
    Ok(Fetched { parcel, message })
}

fn encode_terms(terms: &Terms, out: &mut FrameWriter) {
    out.put_u8(VERSION);
    out.put_u8(terms.qos as u8);
    out.put_u8(u8::from(terms.retain));
    let ids = terms.subscription_ids.as_deref().unwrap_or_default();
    out.put_varint(ids.len() as u64);
    for id in ids {
        out.put_varint(u64::from(*id));
    }
    message::put_optional(out, terms.share.as_deref().map(str::as_bytes));
}

fn decode_terms(blob: &[u8]) -> Result<Terms, Damaged> {
    let mut fields = open(blob)?;
    let qos = QoS::from_bits(fields.read_u8()?).ok_or(Damaged("an unknown quality of service"))?;
    let retain = fields.read_u8()? != 0;
    let mut ids = Vec::new();
    for _ in 0..fields.read_varint()? {
        let id = u32::try_from(fields.read_varint()?);
        ids.push(id.map_err(|_| Damaged("a subscription identifier has more than 32 bits"))?);
    }
    let share = message::read_optional_text(&mut fields)?.map(Arc::from);
    let subscription_ids = (!ids.is_empty()).then(|| Arc::from(ids));
    Ok(Terms { qos, retain, subscription_ids, share })
}

fn encode_body(publish: &Publish, out: &mut FrameWriter) {
    out.put_u8(VERSION);
    encode_publish(publish, out);
}

fn decode_body(blob: &[u8]) -> Result<Publish, Damaged> {
    decode_publish(&mut open(blob)?)
}

fn encode_publish(publish: &Publish, out: &mut FrameWriter) {
    out.put_bytes(publish.topic.as_str().as_bytes());
    out.put_signed(publish.received_at.as_millis());
    message::encode(publish, out);
}

fn decode_publish(fields: &mut FrameReader<'_>) -> Result<Publish, Damaged> {
    let topic = TopicName::parse(fields.read_str()?);
    let topic = topic.map_err(|_| Damaged("its topic is not a topic name"))?;
    let received_at = Timestamp::from_millis(fields.read_signed()?);
    message::decode(topic, received_at, fields)
}

fn encode_will(will: &SavedWill, out: &mut FrameWriter) {
    out.put_u8(VERSION);
    out.put_varint(will.delay.as_secs());
    out.put_u8(u8::from(will.publish.retain));
    message::put_optional(out, will.publish.origin.principal.as_deref().map(str::as_bytes));
    encode_publish(&will.publish, out);
}

fn decode_will(
    blob: &[u8],
    client_id: &Arc<str>,
    address: SocketAddr,
) -> Result<SavedWill, Damaged> {
    let mut fields = open(blob)?;
    let delay = Duration::from_secs(fields.read_varint()?);
    let retain = fields.read_u8()? != 0;
    let principal = message::read_optional_text(&mut fields)?.map(Arc::from);
    let origin = Arc::new(Origin {
        client_id: Some(Arc::clone(client_id)),
        principal,
        source_ip: Some(address.ip()),
        record: None,
    });
    let publish = decode_publish(&mut fields)?;
    Ok(SavedWill { delay, publish: Publish { retain, origin, ..publish } })
}

fn open(blob: &[u8]) -> Result<FrameReader<'_>, Damaged> {
    let mut fields = FrameReader::open(blob)?;
    match fields.read_u8()? {
        VERSION => Ok(fields),
        _ => Err(Damaged("an unknown version of the form")),
    }
}
