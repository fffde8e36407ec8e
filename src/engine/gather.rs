//! GROUP BY between messages and hits: what a message adds to its group's windows, and the hit that a
//! closed window makes.

use bytes::Bytes;
use compact_str::CompactString;

use super::ClosedWindow;
use super::Contribution;
use super::Engine;
use super::Fault;
use super::FaultCode;
use super::Hit;
use super::HitEvent;
use super::RuleIndex;
use super::Truth;
use super::code::Gather;
use super::evaluate::Frame;
use super::evaluate::Window;
use super::judge::fault;
use super::judge::key_text;
use super::output;
use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader;

/// What the message of `frame` adds.
pub(super) fn contribute(
    rule: RuleIndex,
    frame: &Frame<'_>,
    gather: &Gather,
    (at, event_at): (Timestamp, Option<Timestamp>),
) -> Result<Contribution, output::Refusal> {
    let key = group_key(frame, gather)?;
    let values = gather.inputs.iter().map(|input| frame.value(input, None).into_owned()).collect();
    output::budget_kept(frame)?;
    let publish = frame.message.publish.clone();
    Ok(Contribution { rule, key, values, at, event_at, publish })
}

/// The GROUP BY values as the text of a JSON array. One that is Undefined is NULL, which is a group
/// like others.
fn group_key(frame: &Frame<'_>, gather: &Gather) -> Result<CompactString, output::Refusal> {
    let values = gather.keys.iter().map(|key| {
        let value = frame.value(key, None).into_owned();
        if value.is_undefined() { Value::Null } else { value }
    });
    key_text(values).map_err(|problem| (FaultCode::GroupKeyInvalid, problem))
}

impl Engine {
    /// Makes a hit of a closed window: HAVING, SELECT and the actions. `None` where HAVING is not true.
    pub fn complete_window(&self, closed: &ClosedWindow) -> Result<Option<Hit>, Fault> {
        let ClosedWindow { rule, facts, decided_at, topic, hops, .. } = closed;
        // There is no one message it speaks of.
        let publish = Publish {
            topic: topic.clone(),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: false,
            received_at: *decided_at,
            origin: Origin::internal(),
            properties: None,
            hops: *hops,
        };
        let keys = match json_reader::parse(facts.key.as_bytes(), Whole::AsInt) {
            Ok(Value::Array(keys)) => keys.to_vec(),
            _ => Vec::new(),
        };
        let window =
            Window { keys, values: closed.values.clone(), start: facts.start, end: facts.end };
        let made = self.alone(*rule, &publish, None, |frame| {
            let frame = frame.of_window(&window);
            let having = frame.program.gather.as_ref().and_then(|gather| gather.having.as_ref());
            let is_told = having.is_none_or(|having| frame.condition(having) == Truth::True);
            output::budget_kept(&frame).map_err(|refusal| fault(*rule, refusal))?;
            if !is_told {
                return Ok(None);
            }
            let actions = &frame.program.actions;
            let made = output::make(&frame, actions).map_err(|refusal| fault(*rule, refusal))?;
            let actions = output::prepare(&frame, actions, &made, |refusal| fault(*rule, refusal));
            Ok(Some((made.output, actions)))
        });
        let Some(made) = made else { return Ok(None) };
        Ok(made?.map(|(output, actions)| Hit {
            rule: *rule,
            event: HitEvent::Window(facts.clone()),
            at: facts.end,
            decided_at: *decided_at,
            publish,
            output,
            actions,
        }))
    }
}
