//! Any rule file over any payload: evaluated, completed and reported without a panic, and what is
//! called JSON is JSON.
//!
//! The bytes up to the first NUL are the rule file, those behind it the payload.

#![no_main]

use std::path::PathBuf;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tidegate::clock::Timestamp;
use tidegate::engine::ActionFailure;
use tidegate::engine::Cleared;
use tidegate::engine::Engine;
use tidegate::engine::Episode;
use tidegate::engine::EpisodeEvent;
use tidegate::engine::Evaluation;
use tidegate::engine::HoldFacts;
use tidegate::engine::Output;
use tidegate::engine::RuleIndex;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::Rule;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;
use tidegate::topic::TopicName;

fuzz_target!(|bytes: &[u8]| {
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    let text = halves.next().unwrap_or_default().to_vec();
    let payload = halves.next().unwrap_or_default();
    let targets =
        Targets { hooks: ["pager".to_owned()].into_iter().collect(), ..Targets::default() };
    let source = Source { path: PathBuf::from("fuzz.rule"), content: Ok(text) };
    let checked = set::check(&[source], &targets, &mut NoFiles);
    if checked.has_errors() {
        return;
    }
    let engine = Engine::new(checked.rules, "000000000000");
    for (index, rule) in (0..).map(RuleIndex).zip(engine.rules()) {
        let Some(topic) = topic(rule) else { continue };
        let publish = publish(topic, payload);
        let mut evaluation = Evaluation::default();
        engine.evaluate(&engine.plan(&publish.topic), &publish, &mut evaluation);
        for hit in &evaluation.hits {
            check(&hit.output);
        }
        complete(&engine, index, &publish);
    }
});

/// A topic that FROM matches.
fn topic(rule: &Rule) -> Option<TopicName> {
    let filter = rule.definition.select.from.first()?;
    TopicName::parse(&filter.node.as_str().replace(['+', '#'], "x")).ok()
}

fn publish(topic: TopicName, payload: &[u8]) -> Publish {
    Publish {
        topic,
        payload: payload.to_vec().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1_700_000_000_000),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}

/// The two later looks at the same message: the end of an episode, and an action that failed.
fn complete(engine: &Engine, rule: RuleIndex, publish: &Publish) {
    for event in [EpisodeEvent::Firing, EpisodeEvent::Cleared(Cleared::False)] {
        let facts = HoldFacts {
            key: Arc::from("[7]"),
            since: Timestamp::from_millis(1),
            fired_at: Timestamp::from_millis(2),
            samples: 3,
        };
        let at = Timestamp::from_millis(2);
        let episode = Episode { rule, event, at, decided_at: at, facts, publish: publish.clone() };
        if let Ok(hit) = engine.complete(&episode) {
            check(&hit.output);
        }
    }
    let failure = ActionFailure {
        failed_action: "invoke".to_owned(),
        failed_resource: "pager".to_owned(),
        error_message: "timed out".to_owned(),
    };
    if let Some(report) = engine.error_actions(rule, publish, &[failure]) {
        check(&report.output);
    }
}

fn check(output: &Output) {
    if let Output::Json(text) = output {
        // Raw: a number beyond a double is JSON too.
        let read = serde_json::from_slice::<&RawValue>(text);
        assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(text));
    }
}
