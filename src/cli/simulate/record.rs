//! A hit as a line of the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::engine::Hit;
use crate::engine::HitEvent;
use crate::engine::HoldFacts;
use crate::engine::Output;
use crate::engine::WindowFacts;

/// `{"t","rule","event","key"?,"since"?,"fired_at"?,"reason"?,"samples"?,"topic","output"}`, of a window with
/// `start`, `end` and `messages`; times in epoch milliseconds. Output that is not JSON stands in `output_base64`.
#[derive(Serialize)]
struct Record<'a> {
    t: i64,
    rule: &'a str,
    event: &'static str,
    #[serde(flatten)]
    episode: Option<EpisodePart<'a>>,
    #[serde(flatten)]
    window: Option<WindowPart<'a>>,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_base64: Option<String>,
}

#[derive(Serialize)]
struct EpisodePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a RawValue>,
    since: i64,
    fired_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    samples: u64,
}

#[derive(Serialize)]
struct WindowPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a RawValue>,
    start: i64,
    end: i64,
    messages: u64,
}

/// JSON text as it is; `None` when it is not JSON.
fn raw(text: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(text).ok()
}

fn episode_part<'a>(facts: &'a HoldFacts, reason: Option<&'static str>) -> EpisodePart<'a> {
    EpisodePart {
        key: raw(facts.key.as_bytes()),
        since: facts.since.as_millis(),
        fired_at: facts.fired_at.as_millis(),
        reason,
        samples: facts.samples,
    }
}

fn window_part(facts: &WindowFacts) -> WindowPart<'_> {
    WindowPart {
        key: raw(facts.key.as_bytes()),
        start: facts.start.as_millis(),
        end: facts.end.as_millis(),
        messages: facts.messages,
    }
}

/// Appends the hit's line.
pub(super) fn append(line: &mut Vec<u8>, rule: &str, hit: &Hit) {
    let (event, episode, window) = match &hit.event {
        HitEvent::Match => ("match", None, None),
        HitEvent::Firing(facts) => ("firing", Some(episode_part(facts, None)), None),
        HitEvent::Cleared(facts, reason) => {
            ("cleared", Some(episode_part(facts, Some(reason.as_str()))), None)
        }
        HitEvent::Window(facts) => ("window", None, Some(window_part(facts))),
    };
    let output = match &hit.output {
        Output::Json(json) => raw(json),
        Output::Raw(_) => None,
    };
    let record = Record {
        t: hit.at.as_millis(),
        rule,
        event,
        episode,
        window,
        topic: hit.publish.topic.as_str(),
        output,
        output_base64: output.is_none().then(|| STANDARD.encode(hit.output.bytes())),
    };
    serde_json::to_writer(&mut *line, &record).expect("a vector takes every byte");
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use smallvec::SmallVec;

    use super::*;
    use crate::clock::Timestamp;
    use crate::engine::Cleared;
    use crate::engine::RuleIndex;
    use crate::publish::Origin;
    use crate::publish::Publish;
    use crate::publish::QoS;
    use crate::topic::TopicName;

    fn line(event: HitEvent, output: Output) -> String {
        let hit = Hit {
            rule: RuleIndex(0),
            event,
            at: Timestamp::from_millis(9),
            decided_at: Timestamp::from_millis(9),
            publish: Publish {
                topic: TopicName::parse("lab/\"7\"").unwrap(),
                payload: Bytes::new(),
                qos: QoS::AtMostOnce,
                retain: false,
                received_at: Timestamp::from_millis(8),
                origin: Origin::internal(),
                properties: None,
                hops: 0,
            },
            output,
            actions: SmallVec::new(),
        };
        let mut line = Vec::new();
        append(&mut line, "r", &hit);
        String::from_utf8(line).unwrap()
    }

    fn facts() -> HoldFacts {
        HoldFacts {
            key: Arc::from("[7]"),
            since: Timestamp::from_millis(1),
            fired_at: Timestamp::from_millis(4),
            samples: 3,
        }
    }

    #[test]
    fn numbers_of_the_output_keep_their_spelling() {
        let output = Output::Json(Bytes::from_static(b"{\"a\":1.10}"));
        assert_eq!(
            line(HitEvent::Match, output),
            "{\"t\":9,\"rule\":\"r\",\"event\":\"match\",\"topic\":\"lab/\\\"7\\\"\",\
             \"output\":{\"a\":1.10}}\n"
        );
    }

    #[test]
    fn an_episode_tells_its_facts() {
        let output = Output::Json(Bytes::from_static(b"1"));
        assert_eq!(
            line(HitEvent::Cleared(facts(), Cleared::Gap), output.clone()),
            "{\"t\":9,\"rule\":\"r\",\"event\":\"cleared\",\"key\":[7],\"since\":1,\"fired_at\":4,\
             \"reason\":\"gap\",\"samples\":3,\"topic\":\"lab/\\\"7\\\"\",\"output\":1}\n"
        );
        let firing = line(HitEvent::Firing(facts()), output);
        assert!(firing.contains("\"event\":\"firing\"") && !firing.contains("reason"), "{firing}");
    }

    #[test]
    fn bytes_that_are_not_json_stand_in_base64() {
        let line = line(HitEvent::Match, Output::Raw(Bytes::from_static(&[0, 255])));
        assert!(line.contains("\"output_base64\":\"AP8=\"") && !line.contains("\"output\""));
    }
}
