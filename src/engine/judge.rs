//! One rule over one message: JOIN and WHERE, then what the rule is for. That is a hit, or what the
//! writer is told for its WHEN, its GROUP BY or its analytic functions.

use std::borrow::Borrow;
use std::borrow::Cow;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::code;
use super::evaluate::Frame;
use super::event_time;
use super::gather;
use super::hit::Evaluation;
use super::hit::Fault;
use super::hit::FaultCode;
use super::hit::Hit;
use super::hit::HitEvent;
use super::hit::Observation;
use super::hit::Observed;
use super::hit::Recall;
use super::hit::Recalled;
use super::hit::RuleIndex;
use super::hit::Truth;
use super::output;
use crate::clock::Timestamp;
use crate::limits::EVENT_FUTURE_MAX;
use crate::limits::FOREACH_BYTES_MAX;
use crate::limits::FOREACH_ELEMENTS_MAX;
use crate::limits::HISTORY_VALUE_BYTES_MAX;
use crate::limits::HOLD_KEY_BYTES_MAX;
use crate::rule::analytic::Lookback;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;
use crate::value::json_reader;

/// The rule over the message, or with FOREACH over each element of an array in it.
pub(super) fn evaluate_rule(
    rule: RuleIndex,
    frame: &Frame<'_>,
    readable: bool,
    out: &mut Evaluation,
) {
    let Some(array) = &frame.program.foreach else {
        return evaluate_one(rule, frame, readable, out);
    };
    let found = frame.value(array, None);
    let Some(elements) = elements(&found) else {
        out.unknown.push(rule);
        return;
    };
    let before = (out.hits.len(), out.observations.len());
    if let Err(refusal) = evaluate_elements(rule, frame, elements, readable, out) {
        // All elements of a message, or none.
        out.hits.truncate(before.0);
        out.observations.truncate(before.1);
        out.faults.push(fault(rule, refusal));
    }
}

/// Runs `run` over what an episode is about: the message, or with FOREACH the element of it
/// at `place`.
pub(super) fn of_episode<T>(
    frame: &Frame<'_>,
    place: Option<usize>,
    run: impl FnOnce(&Frame<'_>) -> T,
) -> T {
    let Some((array, place)) = frame.program.foreach.as_ref().zip(place) else { return run(frame) };
    match elements(&frame.value(array, None)).and_then(|elements| elements.get(place)) {
        Some(element) => run(&frame.of_element(element)),
        None => run(frame),
    }
}

/// Which element of FOREACH an episode of `key` saw last: the last of that key for which the
/// condition is true. Should it be true of none any more (a row that WHERE looks at has changed), the
/// last of that key. `None` without FOREACH.
pub(super) fn last_element(frame: &Frame<'_>, key: &str) -> Option<usize> {
    let found = frame.value(frame.program.foreach.as_ref()?, None);
    let watch = frame.program.watch.as_ref()?;
    let mut last = None;
    for (place, element) in elements(&found)?.iter().enumerate().rev() {
        let frame = frame.of_element(element);
        if observed_key(&frame, &watch.partition_by).is_ok_and(|own| own == key) {
            let is_true = |code: &code::Code| frame.condition(code) == Truth::True;
            let is_wanted = frame.is_joined() && frame.program.filter.as_ref().is_none_or(is_true);
            if is_wanted && is_true(&watch.condition) {
                return Some(place);
            }
            last = last.or(Some(place));
        }
    }
    last
}

/// What FOREACH runs over: an array, or an object as an array of one.
fn elements(found: &Value) -> Option<&[Value]> {
    match found {
        Value::Array(items) => Some(items.as_slice()),
        object @ Value::Object(_) => Some(std::slice::from_ref(object)),
        _ => None,
    }
}

fn evaluate_elements(
    rule: RuleIndex,
    frame: &Frame<'_>,
    elements: &[Value],
    readable: bool,
    out: &mut Evaluation,
) -> Result<(), output::Refusal> {
    if elements.len() > FOREACH_ELEMENTS_MAX {
        let problem = format!("FOREACH runs over at most {FOREACH_ELEMENTS_MAX} elements");
        return Err((FaultCode::ArrayTooLarge, problem));
    }
    let mut bytes = 0;
    for element in elements {
        let (hits, faults) = (out.hits.len(), out.faults.len());
        evaluate_one(rule, &frame.of_element(element), readable, out);
        if frame.budget.fault().is_some() {
            out.faults.truncate(faults);
            return output::budget_kept(frame);
        }
        let made = out.hits.get(hits..).unwrap_or_default();
        bytes += made.iter().map(|hit| hit.output.bytes().len()).sum::<usize>();
        if bytes > FOREACH_BYTES_MAX {
            let problem =
                format!("the outputs of FOREACH have more than {FOREACH_BYTES_MAX} bytes");
            return Err((FaultCode::OutputTooLarge, problem));
        }
    }
    Ok(())
}

/// What is decided of a message when it comes: everything, or with analytic functions what they are
/// given.
fn evaluate_one(rule: RuleIndex, frame: &Frame<'_>, readable: bool, out: &mut Evaluation) {
    let Some(lookbacks) = &frame.program.lookbacks else {
        return judge_one(rule, frame, readable, None, out);
    };
    let is_joined = frame.is_joined();
    if let Err(refusal) = output::budget_kept(frame) {
        out.faults.push(fault(rule, refusal));
        return;
    }
    if !is_joined {
        return;
    }
    let outcome = event_time(frame).inspect_err(|_| out.unknown.push(rule));
    let outcome = outcome.and_then(|event_at| recall(rule, frame, lookbacks, event_at));
    match outcome {
        Ok(recall) => out.observations.push(Observed::Message(recall)),
        Err(refusal) => out.faults.push(fault(rule, refusal)),
    }
}

/// JOIN and WHERE, then what the rule is for: a hit, or an observation for its WHEN.
pub(super) fn judge_one(
    rule: RuleIndex,
    frame: &Frame<'_>,
    readable: bool,
    recalled: Option<&Recalled>,
    out: &mut Evaluation,
) {
    let program = frame.program;
    let wanted = match &program.filter {
        _ if !frame.is_joined() => Truth::False,
        None => Truth::True,
        Some(filter) => frame.condition(filter),
    };
    if let Err(refusal) = output::budget_kept(frame) {
        out.faults.push(fault(rule, refusal));
        return;
    }
    match wanted {
        Truth::False => return,
        Truth::Unknown => {
            out.unknown.push(rule);
            return;
        }
        Truth::True => {}
    }
    let outcome = match (&program.watch, &program.gather) {
        (None, None) => hit(rule, frame, recalled).map(|hit| out.hits.push(hit)),
        // Unknown changes no clock and adds nothing, and has been counted as a fault.
        (Some(watch), _) if !readable && !watch.is_absence => Ok(()),
        (None, Some(_)) if !readable => Ok(()),
        (watch, gather) => {
            let times = match recalled {
                Some(recalled) => Ok((recalled.at, recalled.event_at)),
                None => event_time(frame).map(|event| (frame.message.publish.received_at, event)),
            };
            let times = times.inspect_err(|_| out.unknown.push(rule));
            let observed = times.and_then(|times| match (watch, gather) {
                (Some(watch), _) => {
                    observe(rule, frame, watch, times).map(|o| Some(Observed::Condition(o)))
                }
                (None, Some(gather)) => gather::contribute(rule, frame, gather, times)
                    .map(|added| Some(Observed::Contribution(added))),
                (None, None) => Ok(None),
            });
            observed.map(|seen| out.observations.extend(seen))
        }
    };
    if let Err(refusal) = outcome {
        out.faults.push(fault(rule, refusal));
    }
}

fn hit(
    rule: RuleIndex,
    frame: &Frame<'_>,
    recalled: Option<&Recalled>,
) -> Result<Hit, output::Refusal> {
    let actions = &frame.program.actions;
    let made = output::make(frame, actions)?;
    let actions = output::prepare(frame, actions, &made, |refusal| fault(rule, refusal));
    let publish = frame.message.publish;
    let decided_at = recalled.map_or(publish.received_at, |recalled| recalled.at);
    Ok(Hit {
        rule,
        event: HitEvent::Match,
        at: recalled.and_then(|recalled| recalled.event_at).unwrap_or(decided_at),
        decided_at,
        publish: publish.clone(),
        output: made.output,
        actions,
    })
}

/// The event time of the message; `None` for rules without TIMESTAMP BY.
fn event_time(frame: &Frame<'_>) -> Result<Option<Timestamp>, output::Refusal> {
    let Some(clause) = &frame.program.timestamp else { return Ok(None) };
    let value = frame.value(&clause.value, None);
    let time = event_time::read(&value, clause.unit);
    let limit = frame.message.publish.received_at + EVENT_FUTURE_MAX;
    match time {
        Some(time) if time <= limit => Ok(Some(time)),
        Some(time) => {
            let problem = format!("the event time {time} is more than an hour ahead of the clock");
            Err((FaultCode::EventTimeFuture, problem))
        }
        None => {
            let problem = match &*value {
                Value::Undefined => "TIMESTAMP BY is Undefined".to_owned(),
                other => format!("{} is no event time", event_time::excerpt(other)),
            };
            Err((FaultCode::EventTimeInvalid, problem))
        }
    }
}

fn observe(
    rule: RuleIndex,
    frame: &Frame<'_>,
    watch: &code::Watch,
    (at, event_at): (Timestamp, Option<Timestamp>),
) -> Result<Observation, output::Refusal> {
    let condition = frame.condition(&watch.condition);
    let clear = watch.clear.as_ref().map(|clear| frame.condition(clear));
    let key = observed_key(frame, &watch.partition_by)?;
    output::budget_kept(frame)?;
    let publish = frame.message.publish;
    Ok(Observation {
        rule,
        key,
        condition,
        clear,
        at,
        event_at,
        publish: (condition == Truth::True || event_at.is_some()).then(|| publish.clone()),
    })
}

/// What of a message is remembered, and of which key.
fn recall(
    rule: RuleIndex,
    frame: &Frame<'_>,
    lookbacks: &code::Lookbacks,
    event_at: Option<Timestamp>,
) -> Result<Recall, output::Refusal> {
    let key = observed_key(frame, &lookbacks.partition_by)?;
    let calls = lookbacks.calls.iter();
    let calls = calls.flat_map(|call| std::iter::repeat_n(call, call.arguments()));
    let values = calls.zip(&lookbacks.values).map(|(call, code)| {
        let value = frame.value(code, None);
        // Only a number is less or more than another.
        let is_kept = *call != Lookback::Delta || value.to_number().is_some();
        let mut text = Vec::new();
        if is_kept {
            json::write(&mut text, &value, frame.program.whole, HISTORY_VALUE_BYTES_MAX)
                .map_err(|error| (FaultCode::HistoryValueTooLarge, error.to_string()))?;
        }
        Ok(CompactString::from_utf8(text).expect("JSON text of strings is UTF-8"))
    });
    let values = values.collect::<Result<_, _>>()?;
    output::budget_kept(frame)?;
    let publish = frame.message.publish;
    Ok(Recall { rule, key, values, at: publish.received_at, event_at, publish: publish.clone() })
}

/// The PARTITION BY values, or the topic or the record's partition key, as the text of a JSON array.
fn observed_key(
    frame: &Frame<'_>,
    partition_by: &[code::Code],
) -> Result<CompactString, output::Refusal> {
    let refuse = |problem: String| (FaultCode::HoldKeyInvalid, problem);
    if partition_by.is_empty() {
        return key_text([Cow::Owned(Value::string(frame.message.own_key()))]).map_err(refuse);
    }
    let values: SmallVec<[_; 3]> =
        partition_by.iter().map(|code| frame.value(code, None)).collect();
    if let Some(position) = values.iter().position(|value| value.is_undefined()) {
        return Err(refuse(format!("PARTITION BY value {} is Undefined", position + 1)));
    }
    key_text(values).map_err(refuse)
}

/// The values of a key as the text of a JSON array, or why they are none.
pub(super) fn key_text(
    values: impl IntoIterator<Item: Borrow<Value>>,
) -> Result<CompactString, String> {
    let mut text = Vec::with_capacity(64);
    text.push(b'[');
    for (position, value) in values.into_iter().enumerate() {
        if position > 0 {
            text.push(b',');
        }
        json::write(&mut text, value.borrow(), Whole::AsInt, HOLD_KEY_BYTES_MAX)
            .map_err(|error| error.to_string())?;
    }
    text.push(b']');
    if text.len() > HOLD_KEY_BYTES_MAX {
        return Err(format!("the key is longer than {HOLD_KEY_BYTES_MAX} bytes"));
    }
    Ok(CompactString::from_utf8(text).expect("JSON text of strings is UTF-8"))
}

/// `hold.key`: the one value of the key, or the array of several.
pub(super) fn hold_key(text: &str) -> Value {
    let Ok(Value::Array(values)) = json_reader::parse(text.as_bytes(), Whole::AsInt) else {
        return Value::Undefined;
    };
    match values.as_slice() {
        [single] => single.clone(),
        _ => Value::Array(values),
    }
}

pub(super) fn fault(rule: RuleIndex, (code, message): output::Refusal) -> Fault {
    Fault { rule, code, message }
}
