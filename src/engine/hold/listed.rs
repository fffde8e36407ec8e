//! FOR EACH ROW OF: keys that are watched because a table has them, whether they have been heard of or not.
//!
//! The clock of a row that is new starts when it is listed: at the start, or at the reload that brought
//! it. Until the key is heard of, the row stands for its message. A row that is gone takes its key with
//! it; whether a key is a row stands in its state on disk, so that this works over a restart too.

use std::collections::HashSet;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Cleared;
use crate::engine::EpisodeEvent;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::hold::hold_table::HoldTable;
use crate::engine::hold::hold_table::Key;
use crate::engine::hold::hold_table::Transitions;
use crate::engine::hold::hold_table::WatchedRule;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::message::Message;
use crate::limits::HOLD_KEY_BYTES_MAX;
use crate::limits::HOLD_MESSAGE_BYTES_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::rule::table::Table;
use crate::topic::TopicName;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;

impl HoldTable {
    /// Watches the rows of the tables that `rules` list, as of `now`, and no longer those that have gone.
    /// To be called when the keys of an earlier process have been restored.
    pub fn list_rows<'a>(
        &mut self,
        rules: impl IntoIterator<Item = WatchedRule<'a>>,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        self.now = self.now.max(now);
        for rule in rules {
            let Some(table) = rule.listed else { continue };
            let mut listed = HashSet::new();
            let mut refused = 0;
            for (key, row) in table.rows() {
                match self.list_row(&rule, table, key, row) {
                    Some(number) => drop(listed.insert(number)),
                    None => refused += 1,
                }
            }
            self.unlist(&rule, &listed, out);
            self.refuse_rows(&rule, table, refused, out);
        }
    }

    /// Watches a row; answers where, or `None` when the rule watches as much as it may.
    fn list_row(
        &mut self,
        watched: &WatchedRule<'_>,
        table: &Table,
        key: &[Value],
        row: &Value,
    ) -> Option<u32> {
        let text = key_text(key)?;
        let rule = self.rules.get_mut(watched.index)?;
        let found = rule.keys.find(&text, &self.keys);
        let is_watched = found.and_then(|number| self.keys.get(number)).is_some_and(Key::lives);
        let message = (!is_watched).then(|| Message::of(&stand_in(table, row, self.now)));
        if let Some(message) = &message {
            let bytes = rule.counts.message_bytes + message.bytes();
            if rule.counts.active() >= rule.keys_max || bytes > HOLD_MESSAGE_BYTES_MAX {
                return None;
            }
        }
        let number = match found {
            Some(number) => number,
            None => self.put(Key::new(watched.index, text))?,
        };
        let rule = self.rules.get_mut(watched.index)?;
        let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
        let key = self.keys.get_mut(number)?;
        if let Some(message) = message {
            let (before, bytes) = (key.state.phase, key.kept_bytes());
            key.message = Some(message);
            key.state.expect(desk.now);
            desk.counts.moved(before, key.state.phase);
            desk.counts.kept(bytes, key.kept_bytes());
            let now = desk.now;
            key.settle(&mut desk, now);
            desk.mark(key);
        }
        if !key.listed {
            key.listed = true;
            desk.mark(key);
        }
        Some(number)
    }

    /// The keys of rows that have gone are watched no longer.
    fn unlist(&mut self, watched: &WatchedRule<'_>, listed: &HashSet<u32>, out: &mut Transitions) {
        let Some(rule) = self.rules.get_mut(watched.index) else {
            return;
        };
        let is_gone = |number: &u32| {
            !listed.contains(number) && self.keys.get(*number).is_some_and(|key| key.listed)
        };
        let mut gone: Vec<u32> = rule.keys.numbers().filter(is_gone).collect();
        // The order of the hash table is no order.
        gone.sort_by_cached_key(|number| self.keys.get(*number).map(|key| key.text.clone()));
        for number in gone {
            let Some(key) = self.keys.get_mut(number) else { continue };
            let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
            if let Phase::Firing { fired_at, .. } = key.state.phase {
                let event = EpisodeEvent::Cleared(Cleared::RowRemoved);
                out.episodes.push(key.episode(watched.index, event, fired_at, desk.now, desk.now));
            }
            desk.counts.moved(key.state.phase, Phase::Inactive);
            (key.state, key.listed) = (State::inactive(), false);
            let now = desk.now;
            key.settle(&mut desk, now);
            desk.mark(key);
        }
    }

    fn refuse_rows(
        &mut self,
        watched: &WatchedRule<'_>,
        table: &Table,
        refused: u64,
        out: &mut Transitions,
    ) {
        let rule = self.rules.get_mut(watched.index);
        let Some(rule) = rule.filter(|_| refused > 0) else { return };
        let desk = rule.desk(0, &mut self.timers, &mut self.changed, self.now);
        desk.counts.refused += refused;
        let (why, table) = (desk.too_many_keys(), table.name());
        let message = format!("the rule {why}; rows of {table} left out: {refused}");
        out.faults.push(Fault { rule: watched.index, code: FaultCode::HoldKeysFull, message });
    }
}

/// As the engine writes the PARTITION BY values of a message; `None` for a key that is too long for one.
fn key_text(key: &[Value]) -> Option<CompactString> {
    let mut text = vec![b'['];
    for (position, value) in key.iter().enumerate() {
        if position > 0 {
            text.push(b',');
        }
        json::write(&mut text, value, Whole::AsInt, HOLD_KEY_BYTES_MAX).ok()?;
    }
    text.push(b']');
    CompactString::from_utf8(text).ok().filter(|text| text.len() <= HOLD_KEY_BYTES_MAX)
}

/// The message that a row stands for: its columns, under a topic that nobody can publish to.
fn stand_in(table: &Table, row: &Value, at: Timestamp) -> Publish {
    let topic = TopicName::parse(&format!("$tables/{}", table.name()));
    Publish {
        topic: topic.expect("the name of a table is a level of a topic"),
        payload: Bytes::from(json::text(row, Whole::AsInt)),
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: at,
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}
