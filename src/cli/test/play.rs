//! Runs a scenario and compares what happened with what was expected.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use similar::TextDiff;

use super::scenario::Kind;
use super::scenario::Line;
use super::scenario::NewRules;
use super::scenario::Offset;
use super::scenario::Scenario;
use super::scenario::Step;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::gateway::Rehearsal;
use crate::gateway::Seen;
use crate::journal::Effect;
use crate::journal::HitRecord;
use crate::latest::Upsert;
use crate::limits::SCENARIO_EVENTS_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::rule::Rule;

/// Stands for any text in an expectation, such as a random number.
const ANYTHING: &str = "<any>";

/// Something that happened, as an expectation of it would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    at: Offset,
    kind: Kind,
    text: String,
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Played {
    /// What was expected against what happened, line by line; `None` when they agree.
    pub(super) difference: Option<String>,
    /// The scenario with what happened for expectations.
    pub(super) blessed: Vec<Line>,
}

/// Gives the rules of a reload, or says what is wrong with them.
pub(super) type Load<'l> = dyn Fn(&NewRules) -> Result<Vec<Arc<Rule>>, String> + 'l;

/// Plays `scenario` over checked rules; `load` gives those of a reload.
pub(super) fn play(scenario: &Scenario, rules: &[Arc<Rule>], load: &Load<'_>) -> Played {
    let expected: Vec<_> = scenario.expected().collect();
    let is_compared = |kind: Kind| {
        kind == Kind::Decision || expected.iter().any(|(_, expected, _)| *expected == kind)
    };
    let mut rehearsal = Rehearsal::new(rules.to_vec(), &Config::default(), scenario.start);
    let mut happened: Vec<Event> = Vec::new();
    let mut blessed = Vec::new();
    let mut overrun = false;
    for line in &scenario.lines {
        let Line::Step(at, step, _) = line else {
            if let Line::Prose(_) = line {
                blessed.push(line.clone());
            }
            continue;
        };
        overrun |= happened.len() > SCENARIO_EVENTS_MAX;
        if overrun {
            continue;
        }
        let before = match run(&mut rehearsal, scenario.start, *at, step, load) {
            Ok(before) => before,
            Err(wrong) => {
                let difference = Some(format!("{at} reload: {wrong}"));
                return Played { difference, blessed: Vec::new() };
            }
        };
        let after = rehearsal.take_seen();
        let mut add = |seen: Vec<Seen>, blessed: &mut Vec<Line>| {
            let events = seen.into_iter().filter_map(|seen| event(seen, scenario.start));
            for event in events.filter(|event| is_compared(event.kind)) {
                blessed.push(Line::Expected(event.at, event.kind, event.text.clone()));
                happened.push(event);
            }
        };
        add(before, &mut blessed);
        blessed.push(line.clone());
        add(after, &mut blessed);
    }
    let mut difference = compare(&expected, &happened);
    if overrun {
        difference = Some(format!("ended after {SCENARIO_EVENTS_MAX} events; it may be a loop"));
    }
    Played { difference, blessed }
}

/// Takes a step, and answers what happened on the way to it.
fn run(
    rehearsal: &mut Rehearsal,
    start: Timestamp,
    at: Offset,
    step: &Step,
    load: &Load<'_>,
) -> Result<Vec<Seen>, String> {
    let at = at.after(start);
    rehearsal.advance(at);
    let before = rehearsal.take_seen();
    match step {
        Step::Tick => {}
        Step::Reload(rules) => rehearsal.reload(load(rules)?, &Config::default(), at),
        Step::Restart { down } => rehearsal.restart(at, at + *down),
        Step::Put { stream, key, data } => rehearsal.put(stream, key, data, at),
        Step::Publish { topic, client, qos, payload } => {
            let client_id = client.as_deref().map(Arc::from);
            rehearsal.publish(&Publish {
                topic: topic.clone(),
                payload: payload.clone(),
                qos: *qos,
                retain: false,
                received_at: at,
                origin: Arc::new(Origin {
                    client_id,
                    principal: None,
                    source_ip: None,
                    record: None,
                }),
                properties: None,
                hops: 0,
            });
        }
    }
    Ok(before)
}

fn event(seen: Seen, start: Timestamp) -> Option<Event> {
    let (at, kind, text) = match seen {
        Seen::Hit(hit) => (hit.at, Kind::Decision, hit_text(&hit)),
        Seen::Fault { at, rule, code } => (at, Kind::Decision, format!("fault {rule} {code}")),
        Seen::Unknown { at, rule } => (at, Kind::Unknown, format!("unknown {rule}")),
        Seen::Republished(message) => {
            let qos = message.qos as u8;
            let retain = if message.retain { " retain" } else { "" };
            let payload = content(&message.payload);
            let text = format!("republish {} qos={qos}{retain} {payload}", message.topic.as_str());
            (message.received_at, Kind::Action, text)
        }
        Seen::Effect(Effect::Stream { stream, partition_key, hash_key, data, at, .. }) => {
            let hash = hash_key.map(|hash| format!(" hash={hash}")).unwrap_or_default();
            let data = content(&data);
            (at, Kind::Action, format!("stream {stream} key={partition_key}{hash} {data}"))
        }
        Seen::Effect(Effect::Deliver { delivery, data, at, .. }) => {
            (at, Kind::Action, format!("deliver {delivery} {}", content(&data)))
        }
        Seen::Effect(Effect::Invoke { hook, payload, at, .. }) => {
            (at, Kind::Action, format!("invoke {hook} {}", content(&payload)))
        }
        Seen::Effect(Effect::Upsert(upsert)) => {
            let Upsert { table, key, value, at, .. } = *upsert;
            (at, Kind::Action, format!("upsert {table} key={key} {}", content(&value)))
        }
        Seen::Effect(
            Effect::Put(_)
            | Effect::Retain(_)
            | Effect::Forget { .. }
            | Effect::Advance(_)
            | Effect::Consumers(_)
            | Effect::Keep(_)
            | Effect::Session(_)
            | Effect::Switches(_),
        ) => return None,
    };
    Some(Event { at: Offset::between(start, at), kind, text })
}

fn hit_text(hit: &HitRecord) -> String {
    let mut text = format!("{} {}", hit.event, hit.rule);
    for part in [hit.key.as_deref(), hit.reason].into_iter().flatten() {
        text.push(' ');
        text.push_str(part);
    }
    text.push(' ');
    text.push_str(&content(&hit.output));
    text
}

/// One line of text as it is; anything else in base64.
fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("base64:{}", STANDARD.encode(bytes)),
    }
}

/// `None` when each event is the one expected, in order.
fn compare(expected: &[(Offset, Kind, &str)], happened: &[Event]) -> Option<String> {
    let written: Vec<String> =
        expected.iter().map(|(at, _, text)| format!("{at} {text}\n")).collect();
    let mut patterns = expected.iter().map(|(at, _, text)| (*at, pattern(text))).zip(&written);
    let mut place = patterns.clone();
    let seen: Vec<String> = happened
        .iter()
        .map(|event| {
            let text = compact(&event.text);
            let mut is_met = |((at, pattern), _): &((Offset, String), &String)| {
                *at == event.at && matches(pattern, &text)
            };
            // The expectation at this place, or the next one that is met.
            match place.next().filter(&mut is_met).or_else(|| patterns.find(&mut is_met)) {
                Some((_, line)) => line.clone(),
                None => format!("{} {}\n", event.at, event.text),
            }
        })
        .collect();
    if written == seen {
        return None;
    }
    let (written, seen) = (written.concat(), seen.concat());
    let diff = TextDiff::from_lines(&written, &seen);
    let lines = diff.iter_all_changes().map(|change| format!("{} {change}", change.tag()));
    Some(lines.collect::<String>().trim_end().to_owned())
}

/// Without the white space that JSON leaves free.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped, mut gap) = (false, false, false);
    for c in text.trim().chars() {
        if !quoted && c.is_whitespace() {
            gap = true;
            continue;
        }
        let is_sign = |c: char| matches!(c, '{' | '}' | '[' | ']' | ',' | ':');
        if gap && !is_sign(c) && !out.ends_with(is_sign) {
            out.push(' ');
        }
        gap = false;
        out.push(c);
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
    }
    out
}

/// An expectation, compact; what is open takes the space around it too.
fn pattern(text: &str) -> String {
    let parts: Vec<String> = text.split(ANYTHING).map(compact).collect();
    parts.join(ANYTHING)
}

/// Whether `text` is what `pattern` says, which may leave parts open.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once(ANYTHING) else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split(ANYTHING).collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_json_does_not_count_and_that_of_strings_does() {
        assert_eq!(compact("match  r { \"a\" : [1, 2] }"), "match r{\"a\":[1,2]}");
        assert_eq!(compact(r#"{"a b": "c \" d"}"#), r#"{"a b":"c \" d"}"#);
        assert_ne!(compact(r#"{"a": "x y"}"#), compact(r#"{"a": "xy"}"#));
    }

    #[test]
    fn an_open_part_is_met_by_any_text_and_the_rest_is_not() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a<any>c", "abc", true),
            ("a<any>c", "ac", true),
            ("a<any>c", "abd", false),
            ("<any>b<any>", "abc", true),
            ("x<any>b<any>", "abc", false),
            ("a<any>b<any>c", "a1b2c", true),
            ("a<any>b<any>c", "a1c", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_difference_shows_what_is_missing_and_what_was_not_expected() {
        let event = |at: &str, text: &str| {
            let Line::Expected(at, kind, text) =
                super::super::scenario::parse([&*format!("{at} {text}")])
                    .unwrap()
                    .scenarios
                    .remove(0)
                    .lines
                    .remove(0)
            else {
                panic!("{text} is no expectation");
            };
            Event { at, kind, text }
        };
        let happened = [event("1s", "match a {}"), event("2s", "match b {\"n\":7}")];
        let expected = |events: &[Event]| -> Option<String> {
            let lines: Vec<_> = events.iter().map(|e| (e.at, e.kind, e.text.as_str())).collect();
            compare(&lines, &happened)
        };
        assert_eq!(expected(&happened), None);
        let open = [event("1s", "match a { }"), event("2s", "match b {\"n\": <any>}")];
        assert_eq!(expected(&open), None);
        let late = [event("1s", "match a {}"), event("3s", "match b {\"n\":7}")];
        assert_eq!(
            expected(&late).unwrap(),
            "  1s match a {}\n- 3s match b {\"n\":7}\n+ 2s match b {\"n\":7}"
        );
        assert_eq!(expected(&[]).unwrap(), "+ 1s match a {}\n+ 2s match b {\"n\":7}");
        let swapped = [happened[1].clone(), happened[0].clone()];
        assert!(expected(&swapped).is_some());
    }
}
