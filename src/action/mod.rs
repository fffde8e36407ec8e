//! Hit → effects: the only module that knows every kind of target.
//!
//! [`carry_out`] takes a [`Hit`], whose actions the engine has prepared, and adds to an [`Outcome`]:
//! effects for the journal, messages to publish after the commit, and the line for the hit log. What
//! cannot be carried out (an Undefined key, a record too large, a hop too many) becomes a fault, and
//! the rule's ON ERROR actions run over the error document instead; a failing ON ERROR action is
//! counted and goes no further. Nothing here does I/O or waits.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::engine::ActionFailure;
use crate::engine::Engine;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Hit;
use crate::engine::HitEvent;
use crate::engine::PreparedAction;
use crate::engine::RuleIndex;
use crate::journal::Effect;
use crate::journal::HitRecord;
use crate::journal::SentBy;
use crate::latest::Upsert;
use crate::limits;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::rule::ast::Action;
use crate::stream::Meter;
use crate::stream::NoRoom;
use crate::stream::NotAdmitted;
use crate::topic::Reserved;
use crate::topic::TopicName;

/// What carrying out hits has given so far. Reused between batches.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To be committed, in order.
    pub effects: Vec<Effect>,
    /// Lines of the hit log, in order.
    pub hits: Vec<HitRecord>,
    /// REPUBLISH: to be run through the rules now, and to go to subscribers after the commit.
    pub republished: Vec<Publish>,
    /// What could not be evaluated or carried out.
    pub faults: Vec<Fault>,
    /// Rules whose actions were carried out, one entry a hit.
    pub carried_out: Vec<RuleIndex>,
}

/// Carries out `hit`: adds its effects, or its rule's ON ERROR effects, to `outcome`.
pub fn carry_out(engine: &Engine, meter: &Meter, hit: Hit, outcome: &mut Outcome) {
    let rule = &engine.rules()[hit.rule.0 as usize];
    outcome.hits.push(hit_record(rule.name(), &hit));
    outcome.carried_out.push(hit.rule);
    let written = match hit.event {
        HitEvent::Cleared(..) => &rule.definition.on_cleared,
        HitEvent::Match | HitEvent::Firing(_) | HitEvent::Window(_) => &rule.definition.actions,
    };
    let cause = Cause {
        name: rule.name(),
        rule: hit.rule,
        publish: &hit.publish,
        at: hit.decided_at,
        for_error: true,
        meter,
    };
    let mut failures: SmallVec<[ActionFailure; 1]> = SmallVec::new();
    for (action, written) in hit.actions.into_iter().zip(written) {
        if let Err(fault) = action.and_then(|action| cause.carry_out(action, outcome)) {
            failures.push(failure(&written.node, &fault));
            outcome.faults.push(fault);
        }
    }
    if !failures.is_empty() {
        cause.run_error_actions(engine, &failures, outcome);
    }
}

/// Runs the ON ERROR actions of `rule` after `failures` that came to light later: a hook out of
/// attempts, say.
pub fn report(
    engine: &Engine,
    meter: &Meter,
    rule: RuleIndex,
    publish: &Publish,
    at: Timestamp,
    failures: &[ActionFailure],
    outcome: &mut Outcome,
) {
    let name = engine.rules()[rule.0 as usize].name();
    Cause { name, rule, publish, at, for_error: false, meter }
        .run_error_actions(engine, failures, outcome);
}

/// What the effects of one hit have in common.
struct Cause<'a> {
    name: &'a Arc<str>,
    rule: RuleIndex,
    publish: &'a Publish,
    at: Timestamp,
    /// Whether a failure that shows later, in the journal's stage or at a hook, goes to ON ERROR.
    for_error: bool,
    /// Knows which streams are full.
    meter: &'a Meter,
}

impl Cause<'_> {
    fn run_error_actions(
        &self,
        engine: &Engine,
        failures: &[ActionFailure],
        outcome: &mut Outcome,
    ) {
        let Some(report) = engine.error_actions(self.rule, self.publish, failures) else { return };
        let last = Cause { for_error: false, ..*self };
        for action in report.actions {
            if let Err(fault) = action.and_then(|action| last.carry_out(action, outcome)) {
                outcome.faults.push(fault);
            }
        }
    }

    fn carry_out(&self, action: PreparedAction, outcome: &mut Outcome) -> Result<(), Fault> {
        let at = self.at;
        match action {
            PreparedAction::Stream { stream, key, hash_key, records } => {
                self.check_sizes(&records, key.len())?;
                self.check_room(&stream, &records, key.len())?;
                // Who reads the stream judges it: one hop too many ends there.
                let hops = self.publish.hops.saturating_add(1);
                outcome.effects.extend(records.into_iter().map(|data| Effect::Stream {
                    stream: Arc::clone(&stream),
                    partition_key: key.clone(),
                    hash_key,
                    data,
                    at,
                    hops,
                }));
            }
            PreparedAction::Deliver { delivery, records } => {
                self.check_sizes(&records, 0)?;
                let publish = self.for_error.then(|| self.publish.clone());
                let sent_by = Arc::new(SentBy { rule: Arc::clone(self.name), publish });
                outcome.effects.extend(records.into_iter().map(|data| Effect::Deliver {
                    delivery: Arc::clone(&delivery),
                    data,
                    at,
                    sent_by: Some(Arc::clone(&sent_by)),
                }));
            }
            PreparedAction::Invoke { hook, payload } => {
                self.check_sizes(std::slice::from_ref(&payload), 0)?;
                let (rule, hops) = (Arc::clone(self.name), self.publish.hops);
                let for_error = self.for_error;
                outcome.effects.push(Effect::Invoke { hook, rule, payload, at, hops, for_error });
            }
            PreparedAction::Republish { topic, qos, retain, properties, payload } => {
                // What goes to one rule has no subscribers, so there is nobody to retain it for.
                let is_ingest =
                    matches!(Reserved::of(topic.as_str()), Some(Reserved::Ingest { .. }));
                let retain = retain && !is_ingest;
                let message = self.republished(topic, payload)?;
                outcome.republished.push(Publish { qos, retain, properties, ..message });
            }
            PreparedAction::Upsert { table, key, value } => {
                self.check_value(&table, &value)?;
                let rule = Arc::clone(self.name);
                let publish = self.for_error.then(|| self.publish.clone());
                let upsert = Upsert { table, key, value, at, rule, publish };
                outcome.effects.push(Effect::Upsert(Box::new(upsert)));
            }
            PreparedAction::Log { text } => tracing::info!(rule = %self.name, "{text}"),
        }
        Ok(())
    }

    fn republished(&self, topic: TopicName, payload: Bytes) -> Result<Publish, Fault> {
        if self.publish.hops >= limits::HOPS_MAX {
            return Err(Fault {
                rule: self.rule,
                code: FaultCode::HopsExceeded,
                message: format!(
                    "the message has been republished {} times; '{topic}' is cut to end a loop",
                    limits::HOPS_MAX
                ),
            });
        }
        if Reserved::of(topic.as_str()).is_some_and(Reserved::is_own) {
            return Err(Fault {
                rule: self.rule,
                code: FaultCode::TopicInvalid,
                message: format!(
                    "'{topic}' is reserved for the gateway's own events and statistics"
                ),
            });
        }
        Ok(Publish {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            received_at: self.at,
            origin: Origin::internal(),
            properties: None,
            hops: self.publish.hops + 1,
        })
    }

    /// All of the records are taken by the stream, or none.
    fn check_room(
        &self,
        stream: &Arc<str>,
        records: &[Bytes],
        key_bytes: usize,
    ) -> Result<(), Fault> {
        let bytes = records.iter().map(|data| data.len() + key_bytes).sum();
        let rule = self.rule;
        self.meter.admit(stream, bytes).map_err(|not_admitted| match not_admitted {
            NotAdmitted::NoRoom(NoRoom { bytes_max }) => Fault {
                rule,
                code: FaultCode::StreamFull,
                message: format!("stream '{stream}' may hold {bytes_max} bytes, and has no room"),
            },
            NotAdmitted::NoKey(_) => Fault {
                rule,
                code: FaultCode::StreamLocked,
                message: format!("stream '{stream}': {not_admitted}"),
            },
        })
    }

    fn check_value(&self, table: &str, value: &Bytes) -> Result<(), Fault> {
        if value.len() <= limits::TABLE_VALUE_BYTES_MAX {
            return Ok(());
        }
        Err(Fault {
            rule: self.rule,
            code: FaultCode::OutputTooLarge,
            message: format!(
                "a value of {} bytes is over the limit of {} of table '{table}'",
                value.len(),
                limits::TABLE_VALUE_BYTES_MAX
            ),
        })
    }

    fn check_sizes(&self, records: &[Bytes], key_bytes: usize) -> Result<(), Fault> {
        let largest = records.iter().map(Bytes::len).max().unwrap_or(0) + key_bytes;
        if largest <= limits::RECORD_BYTES_MAX {
            return Ok(());
        }
        Err(Fault {
            rule: self.rule,
            code: FaultCode::OutputTooLarge,
            message: format!(
                "a record of {largest} bytes is over the limit of {}",
                limits::RECORD_BYTES_MAX
            ),
        })
    }
}

/// An action that failed, in the words of the error document.
fn failure(action: &Action, fault: &Fault) -> ActionFailure {
    let (kind, target) = match action {
        Action::Stream { name, .. } => ("stream", Some(name)),
        Action::Deliver { name, .. } => ("deliver", Some(name)),
        Action::Invoke { name } => ("invoke", Some(name)),
        Action::Republish { .. } => ("republish", None),
        Action::Upsert { name, .. } => ("upsert", Some(name)),
        Action::Log { .. } => ("log", None),
    };
    ActionFailure {
        failed_action: kind.to_owned(),
        failed_resource: target.map(|name| name.node.to_string()).unwrap_or_default(),
        error_message: fault.message.clone(),
    }
}

fn hit_record(rule: &Arc<str>, hit: &Hit) -> HitRecord {
    let (event, key, reason) = match &hit.event {
        HitEvent::Match => ("match", None, None),
        HitEvent::Firing(facts) => ("firing", Some(Arc::clone(&facts.key)), None),
        HitEvent::Cleared(facts, reason) => {
            ("cleared", Some(Arc::clone(&facts.key)), Some(reason.as_str()))
        }
        HitEvent::Window(facts) => ("window", Some(Arc::clone(&facts.key)), None),
    };
    HitRecord {
        at: hit.decided_at,
        rule: Arc::clone(rule),
        event,
        reason,
        topic: Arc::clone(hit.publish.topic.as_arc()),
        client_id: hit.publish.origin.client_id.clone(),
        key,
        output: hit.output.bytes().clone(),
    }
}
