//! Each case is a timeline and what it must give; then the table against the oracle.
//!
//! Timeline: `T@0` is a message at 0 ms whose condition is TRUE, `F` FALSE, `U` UNKNOWN; `C`, `H`, `N`
//! are FALSE with CLEAR WHEN true, false, unknown; `c` UNKNOWN with CLEAR WHEN true. `.@9` lets time
//! pass. `b:T@0` is of key b (a when not said). `down@20..80` is a process that lived until 20 and its
//! successor that starts at 80; `leap@20..80` a clock that is set from 20 to 80. In event time `T5@20` arrives at 20 and is of event time 5.
//!
//! Records: `fire@5/0x2` fires (or repeats) at 5, true since 0, 2 TRUE messages; `false@7/0x2` clears.

mod absence;
mod at_least;
mod event_time;
mod leap;
mod listed;
mod properties;
mod reload;
mod restart;
mod standstill;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::prelude::prop_oneof;
use proptest::prelude::proptest;
use proptest::prop_assert;
use proptest::prop_assert_eq;

use crate::clock::Timestamp;
use crate::engine::Episode;
use crate::engine::EpisodeEvent;
use crate::engine::FaultCode;
use crate::engine::Leap;
use crate::engine::Observation;
use crate::engine::RuleIndex;
use crate::engine::Truth;
use crate::engine::hold::HoldCounts;
use crate::engine::hold::HoldTable;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::engine::hold::WatchedRule;
use crate::engine::hold::encoding::RowError;
use crate::engine::hold::oracle;
use crate::engine::hold::oracle::Heard;
use crate::engine::hold::oracle::Plan;
use crate::engine::hold::oracle::Told;
use crate::engine::rows::KeyChange;
use crate::engine::rows::WaitingChange;
use crate::engine::rows::WaitingRow;
use crate::limits::HOLD_MESSAGE_BYTES_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::rule::ast::AtLeast;
use crate::rule::ast::Condition;
use crate::rule::ast::Expr;
use crate::rule::ast::ExprKind;
use crate::rule::ast::MaxGap;
use crate::rule::ast::OnRestart;
use crate::rule::ast::Spanned;
use crate::rule::ast::TimeUnit;
use crate::rule::ast::TimestampBy;
use crate::rule::ast::When;
use crate::rule::table::Table;
use crate::topic::TopicName;
use crate::value::Value;

const DAY: i64 = 24 * 3600 * 1000;

fn millis(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap())
}

fn at(time: i64) -> Timestamp {
    Timestamp::from_millis(time)
}

fn when(plan: &Plan) -> When {
    let yes = || Expr { kind: ExprKind::Literal(Value::Bool(true)), span: 0..0 };
    When {
        condition: Condition::Expr(yes()),
        hold_for: Spanned { node: millis(plan.hold_for), span: 0..0 },
        at_least: plan.at_least.map(|(times, within)| AtLeast { times, within: millis(within) }),
        partition_by: Vec::new(),
        each_row: None,
        clear_when: plan.clear_when.then(yes),
        clear_for: millis(plan.clear_for),
        keep: millis(plan.keep),
        max_gap: plan.gap.map(|(limit, hold)| MaxGap { limit: millis(limit), hold }),
        repeat_every: plan.repeat.map(millis),
        on_restart: OnRestart::Pause,
        span: 0..0,
    }
}

/// A rule set of its own, a table, a disk.
struct Bench {
    rules: Vec<(Arc<str>, When, u64)>,
    /// Of all rules.
    timestamp: Option<TimestampBy>,
    /// FOR EACH ROW OF, of all rules.
    listed: Option<Arc<Table>>,
    keys_max: usize,
    table: HoldTable,
    disk: BTreeMap<(String, String), Bytes>,
    /// The row without rule and key.
    left_out: Option<Bytes>,
    /// Rows of waiting messages.
    waiting: BTreeMap<(String, String, u64), Bytes>,
    out: Transitions,
}

impl Bench {
    fn new(rules: Vec<(&str, When)>) -> Self {
        let rules = rules.into_iter().map(|(name, when)| (Arc::from(name), when, 7)).collect();
        let mut bench = Bench {
            rules,
            timestamp: None,
            listed: None,
            keys_max: 1_000_000,
            table: HoldTable::new([]),
            disk: BTreeMap::new(),
            left_out: None,
            waiting: BTreeMap::new(),
            out: Transitions::default(),
        };
        bench.table = HoldTable::new(bench.watched());
        bench
    }

    fn watched(&self) -> impl Iterator<Item = WatchedRule<'_>> {
        self.rules.iter().enumerate().map(|(place, (name, when, fingerprint))| WatchedRule {
            index: RuleIndex(u32::try_from(place).unwrap()),
            name,
            when,
            lateness: self.timestamp.as_ref().map_or(Duration::ZERO, |clause| clause.lateness),
            listed: self.listed.as_ref(),
            fingerprint: *fingerprint,
            keys_max: self.keys_max,
        })
    }

    fn hear(&mut self, rule: u32, key: &str, condition: Truth, clear: Truth, time: i64) {
        let event = self.timestamp.is_some().then_some(time);
        self.hear_of(rule, key, condition, clear, time, event);
    }

    fn hear_of(
        &mut self,
        rule: u32,
        key: &str,
        condition: Truth,
        clear: Truth,
        time: i64,
        event: Option<i64>,
    ) {
        let has_clear = self.rules[rule as usize].1.clear_when.is_some();
        let is_kept = condition == Truth::True || event.is_some();
        let publish = is_kept.then(|| message(key, event.unwrap_or(time)));
        let observation = Observation {
            rule: RuleIndex(rule),
            key: CompactString::from(key),
            condition,
            clear: has_clear.then_some(clear),
            at: at(time),
            event_at: event.map(at),
            publish,
        };
        self.table.observe(observation, &mut self.out);
    }

    fn pass(&mut self, until: i64) {
        while self.table.advance(at(until), &mut self.out) == Progress::More {}
    }

    /// Writes what changed, as a commit does; answers of how many rules all rows were removed.
    fn commit(&mut self) -> usize {
        let emptied: Vec<_> = self.table.take_emptied().collect();
        self.disk.retain(|(of, _), _| emptied.iter().all(|rule| **rule != **of));
        let mut changes = Vec::new();
        self.table.take_changes(&mut changes);
        for KeyChange { rule, key, state, waiting } in changes {
            if rule.is_empty() {
                self.left_out = state;
                continue;
            }
            let row = (rule.to_string(), key.to_string());
            for WaitingChange { turn, message } in waiting {
                let row = (row.0.clone(), row.1.clone(), turn);
                match message {
                    Some(message) => assert!(self.waiting.insert(row, message).is_none()),
                    None => assert!(self.waiting.remove(&row).is_some()),
                }
            }
            match state {
                Some(state) => self.disk.insert(row, state),
                None => self.disk.remove(&row),
            };
        }
        emptied.len()
    }

    /// A new process over the same disk.
    fn restart(&mut self, alive_until: i64, now: i64) -> crate::engine::rows::Restored {
        let mut table = HoldTable::new(self.watched());
        let left_out = self.left_out.iter().map(|state| ("", "", &**state));
        let rows = self.disk.iter().map(|((rule, key), state)| (&**rule, &**key, &**state));
        let rows = left_out.chain(rows);
        let waiting = self.waiting.iter().map(|((rule, key, turn), message)| WaitingRow {
            rule,
            key,
            turn: *turn,
            message,
        });
        let restored = table.restore(rows, waiting, at(alive_until), at(now), &mut self.out);
        self.table = table;
        restored
    }

    fn play(&mut self, timeline: &str) {
        for word in timeline.split_whitespace() {
            let (what, time) = word.split_once('@').unwrap();
            if what == "down" {
                let (dies, starts) = time.split_once("..").unwrap();
                let (dies, starts) = (dies.parse().unwrap(), starts.parse().unwrap());
                self.pass(dies);
                self.commit();
                self.restart(dies, starts);
                self.pass(starts);
                continue;
            }
            if what == "leap" {
                let (from, to) = time.split_once("..").unwrap();
                let (from, to) = (at(from.parse().unwrap()), at(to.parse().unwrap()));
                self.pass(from.as_millis());
                self.table.leap(Leap { from, to });
                continue;
            }
            let time = time.parse().unwrap();
            let (key, what) = what.split_once(':').unwrap_or(("a", what));
            let (what, event) = what.split_at(1);
            let (condition, clear) = match what {
                "T" => (Truth::True, Truth::False),
                "F" => (Truth::False, Truth::False),
                "U" => (Truth::Unknown, Truth::Unknown),
                "C" => (Truth::False, Truth::True),
                "H" => (Truth::False, Truth::False),
                "N" => (Truth::False, Truth::Unknown),
                "c" => (Truth::Unknown, Truth::True),
                "." => {
                    self.pass(time);
                    continue;
                }
                other => panic!("what is {other}?"),
            };
            let event = if event.is_empty() { time } else { event.parse().unwrap() };
            let event = self.timestamp.is_some().then_some(event);
            self.hear_of(0, key, condition, clear, time, event);
        }
    }

    /// What has come out since the last call, as words.
    fn told(&mut self) -> String {
        let words: Vec<String> = self.out.episodes.iter().map(word).collect();
        self.out.clear();
        words.join(" ")
    }
}

fn event(episode: &Episode) -> &'static str {
    match episode.event {
        EpisodeEvent::Firing => "fire",
        EpisodeEvent::Cleared(reason) => reason.as_str(),
    }
}

fn word(episode: &Episode) -> String {
    let key = match &*episode.facts.key {
        "a" => String::new(),
        key => format!("{key}:"),
    };
    let rule = if episode.rule.0 == 0 { String::new() } else { format!("#{}", episode.rule.0) };
    format!(
        "{key}{}{rule}@{}/{}x{}",
        event(episode),
        episode.at.as_millis(),
        episode.facts.since.as_millis(),
        episode.facts.samples
    )
}

fn message(key: &str, time: i64) -> Publish {
    Publish {
        topic: TopicName::parse("t").unwrap(),
        payload: Bytes::from(format!("{key} {time}")),
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: at(time),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}

#[track_caller]
fn check(plan: Plan, timeline: &str, expected: &str) {
    check_when(when(&plan), timeline, expected);
}

#[track_caller]
fn check_when(when: When, timeline: &str, expected: &str) {
    let mut bench = Bench::new(vec![("r", when)]);
    bench.play(timeline);
    assert_eq!(bench.told(), expected, "for {timeline}");
}

fn hold(hold_for: i64) -> Plan {
    Plan { hold_for, ..Plan::default() }
}

#[test]
fn silence_after_the_first_true_fires_by_timer() {
    check(hold(10), "T@0 .@9", "");
    check(hold(10), "T@0 .@10", "fire@10/0x1");
    check(hold(10), "T@0 .@5000", "fire@10/0x1");
}

#[test]
fn the_bound_is_inclusive_and_timers_run_before_messages() {
    check(hold(10), "T@0 T@9 F@9 .@99", "");
    check(hold(10), "T@0 F@10 .@99", "fire@10/0x1 false@10/0x1");
    check(hold(10), "T@0 T@10 .@99", "fire@10/0x1");
    check(hold(10), "T@0 T@10 F@12", "fire@10/0x1 false@12/0x2");
}

#[test]
fn flapping_faster_than_the_duration_never_fires() {
    check(hold(10), "T@0 F@5 T@6 F@12 T@13 F@20 .@99", "");
    check(hold(10), "T@0 F@5 T@6 .@99", "fire@16/6x1");
}

#[test]
fn a_million_true_messages_give_one_record() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    for time in 0..1_000_000 {
        bench.hear(0, "a", Truth::True, Truth::False, time);
    }
    assert_eq!(bench.told(), "fire@10/0x10");
    assert!(bench.table.timers.entries() <= 1);
}

#[test]
fn messages_of_one_instant_count_in_their_order() {
    check(hold(10), "F@0 T@0 .@99", "fire@10/0x1");
    check(hold(10), "T@0 F@0 .@99", "");
    check(hold(10), "T@0 F@3 T@3 .@99", "fire@13/3x1");
}

#[test]
fn unknown_changes_nothing() {
    check(hold(10), "U@0 .@99", "");
    check(hold(10), "U@0 T@3 U@5 .@99", "fire@13/3x1");
    check(hold(10), "T@0 U@20 F@30", "fire@10/0x1 false@30/0x1");
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("U@0 T@3 U@5 U@50");
    let counts = bench.table.counts(RuleIndex(0)).unwrap();
    assert_eq!((counts.unknown, counts.pending, counts.firing), (3, 0, 1));
}

#[test]
fn a_gap_must_be_exceeded() {
    let reset = Plan { gap: Some((5, false)), ..hold(12) };
    check(reset, "T@0 T@5 T@10 .@99", "fire@12/0x3 gap@15/0x3");
    check(reset, "T@0 T@6 .@11", "");
    check(reset, "T@0 T@6 T@11 T@16 .@18", "fire@18/6x3");
    check(reset, "T@0 T@5 T@10 .@15", "fire@12/0x3");
    check(reset, "T@0 T@5 T@10 .@16", "fire@12/0x3 gap@15/0x3");
    check(reset, "T@0 T@5 T@10 T@15 F@16", "fire@12/0x3 false@16/0x4");
}

#[test]
fn a_gap_held_keeps_firing_keys_only() {
    let held = Plan { gap: Some((5, true)), ..hold(7) };
    check(held, "T@0 T@4 .@900 F@901", "fire@7/0x2 false@901/0x2");
    check(held, "T@0 T@6 .@99", "");
}

#[test]
fn a_gap_as_long_as_the_duration_fires_then_clears() {
    check(Plan { gap: Some((10, false)), ..hold(10) }, "T@0 .@99", "fire@10/0x1 gap@10/0x1");
}

#[test]
fn unknown_does_not_end_a_gap() {
    let reset = Plan { gap: Some((5, false)), ..hold(2) };
    check(reset, "T@0 U@3 U@5 .@99", "fire@2/0x1 gap@5/0x1");
    check(Plan { gap: Some((5, false)), ..hold(7) }, "T@0 U@3 T@6 .@8", "");
}

#[test]
fn a_false_between_thresholds_ends_a_gap() {
    let plan = Plan { gap: Some((5, false)), clear_when: true, ..hold(2) };
    check(plan, "T@0 H@4 N@9 .@14", "fire@2/0x1");
    check(plan, "T@0 H@4 N@9 .@15", "fire@2/0x1 gap@14/0x1");
}

#[test]
fn keys_have_clocks_of_their_own() {
    check(hold(10), "T@0 b:T@3 F@5 b:T@6 T@7 .@99", "b:fire@13/3x2 fire@17/7x1");
}

#[test]
fn rules_over_one_topic_have_clocks_of_their_own() {
    let mut bench = Bench::new(vec![("r", when(&hold(10))), ("s", when(&hold(4)))]);
    for rule in [0, 1] {
        bench.hear(rule, "a", Truth::True, Truth::False, 0);
    }
    bench.pass(99);
    assert_eq!(bench.told(), "fire#1@4/0x1 fire@10/0x1");
}

#[test]
fn a_key_that_ended_starts_afresh() {
    check(hold(10), "T@0 T@3 .@15 F@20 T@30 .@99", "fire@10/0x2 false@20/0x2 fire@40/30x1");
}

#[test]
fn many_keys_due_at_once_fire_in_the_order_they_came() {
    let mut bench = Bench::new(vec![("r", when(&hold(DAY)))]);
    let keys = 100_000;
    for key in 0..keys {
        bench.hear(0, &format!("k{key}"), Truth::True, Truth::False, 0);
    }
    let mut rounds = 0;
    while bench.table.advance(at(DAY), &mut bench.out) == Progress::More {
        rounds += 1;
    }
    assert!(rounds > 10, "the caller gets its turn in between");
    assert_eq!(bench.out.episodes.len(), keys);
    for (place, episode) in bench.out.episodes.iter().enumerate() {
        assert_eq!(*episode.facts.key, format!("k{place}"));
        assert_eq!(episode.at, at(DAY));
    }
}

#[test]
fn a_key_over_the_bound_is_refused_and_admitted_when_one_has_gone() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.keys_max = 2;
    bench.table = HoldTable::new(bench.watched());
    bench.play("T@0 b:T@0 c:T@0 c:F@1 b:T@2");
    assert_eq!(bench.out.faults.len(), 1);
    assert_eq!(bench.out.faults[0].code, FaultCode::HoldKeysFull);
    assert_eq!(
        bench.out.faults[0].message,
        "the rule watches 2 keys already; the message of key c is passed over"
    );
    assert_eq!(bench.table.counts(RuleIndex(0)).unwrap().refused, 1);
    bench.play("F@3 c:T@3 T@4");
    assert_eq!(bench.out.faults.len(), 2, "a is now the one too many");
    bench.play(".@99");
    assert_eq!(bench.told(), "b:fire@10/0x2 c:fire@13/3x1");
}

#[test]
fn a_rule_keeps_a_bounded_number_of_message_bytes() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    let large = Bytes::from(vec![b'x'; HOLD_MESSAGE_BYTES_MAX / 2 - 64]);
    let hear = |bench: &mut Bench, key: &str, payload: &Bytes, time: i64| {
        let publish = Publish { payload: payload.clone(), ..message(key, time) };
        let observation = Observation {
            rule: RuleIndex(0),
            key: CompactString::from(key),
            condition: Truth::True,
            clear: None,
            at: at(time),
            event_at: None,
            publish: Some(publish),
        };
        bench.table.observe(observation, &mut bench.out);
    };
    hear(&mut bench, "a", &large, 0);
    hear(&mut bench, "a", &large, 1);
    hear(&mut bench, "b", &large, 1);
    assert_eq!(bench.out.faults.len(), 0, "a message takes the place of the one before");
    let bytes = |bench: &Bench| bench.table.counts(RuleIndex(0)).unwrap().message_bytes;
    let around = bytes(&bench) / 2 - large.len();
    let room = HOLD_MESSAGE_BYTES_MAX - bytes(&bench) - around;
    hear(&mut bench, "c", &Bytes::from(vec![b'x'; room + 1]), 1);
    assert_eq!(bench.out.faults.len(), 1);
    hear(&mut bench, "c", &Bytes::from(vec![b'x'; room]), 1);
    assert_eq!(bench.out.faults.len(), 1);
    assert_eq!(bytes(&bench), HOLD_MESSAGE_BYTES_MAX);
    bench.play("F@2 b:F@2 c:F@2");
    bench.table.forget_changes();
    assert_eq!(bytes(&bench), 0);
    hear(&mut bench, "c", &large, 3);
    assert_eq!(bench.out.faults.len(), 1);
}

#[test]
fn between_the_thresholds_nothing_changes() {
    let plan = Plan { clear_when: true, ..hold(10) };
    check(plan, "T@0 .@15 H@20 T@25 H@30 C@40", "fire@10/0x1 clear_when@40/0x2");
    check(plan, "T@0 .@15 N@20 U@21 c@22", "fire@10/0x1 clear_when@22/0x1");
    check(plan, "T@0 H@5 .@99", "");
}

#[test]
fn clear_for_wants_it_without_interruption() {
    let plan = Plan { clear_for: 5, ..hold(10) };
    check(plan, "T@0 F@20 .@24", "fire@10/0x1");
    check(plan, "T@0 F@20 F@24 .@99", "fire@10/0x1 false@25/0x1");
    check(plan, "T@0 F@20 T@24 F@26 .@99", "fire@10/0x1 false@31/0x2");
    check(plan, "T@0 F@20 T@25 .@99", "fire@10/0x1 false@25/0x1 fire@35/25x1");
    let both = Plan { clear_when: true, ..plan };
    check(both, "T@0 C@20 H@22 .@30 C@31 N@33 .@99", "fire@10/0x1 clear_when@36/0x1");
}

#[test]
fn keep_spans_a_return_to_true() {
    let plan = Plan { keep: 5, ..hold(10) };
    check(plan, "T@0 F@20 T@24 F@30 .@99", "fire@10/0x1 false@35/0x2");
    check(plan, "T@0 F@20 T@25 .@99", "fire@10/0x1 false@25/0x1 fire@35/25x1");
    check(plan, "T@0 F@20 F@23 F@24 .@99", "fire@10/0x1 false@25/0x1");
}

#[test]
fn clear_for_and_keep_follow_each_other() {
    let plan = Plan { keep: 5, clear_for: 3, ..hold(10) };
    check(plan, "T@0 F@20 .@99", "fire@10/0x1 false@28/0x1");
    check(plan, "T@0 F@20 T@27 .@99", "fire@10/0x1");
}

#[test]
fn keep_holds_over_a_gap_too() {
    let plan = Plan { keep: 5, gap: Some((4, false)), ..hold(2) };
    check(plan, "T@0 .@99", "fire@2/0x1 gap@9/0x1");
    check(plan, "T@0 T@8 F@10 .@99", "fire@2/0x1 false@15/0x2");
}

#[test]
fn a_repetition_comes_before_the_end_at_its_instant() {
    let plan = Plan { repeat: Some(5), ..hold(10) };
    check(plan, "T@0 F@20", "fire@10/0x1 fire@15/0x1 fire@20/0x1 false@20/0x1");
    check(plan, "T@0 T@12 F@19 .@99", "fire@10/0x1 fire@15/0x2 false@19/0x2");
    let cleared_by_timer = Plan { clear_for: 5, ..plan };
    check(cleared_by_timer, "T@0 F@15 .@99", "fire@10/0x1 fire@15/0x1 fire@20/0x1 false@20/0x1");
}

#[test]
fn zero_fires_on_the_first_true_of_an_episode() {
    check(hold(0), "T@0 T@1 F@2 T@3", "fire@0/0x1 false@2/0x2 fire@3/3x1");
    check(hold(0), "T@0 F@0 T@0", "fire@0/0x1 false@0/0x1 fire@0/0x1");
}

#[test]
fn the_longest_and_the_shortest_duration_hold() {
    check(hold(1), "T@0 .@1", "fire@1/0x1");
    let year = 366 * DAY;
    check(hold(year), &format!("T@5 .@{}", year + 4), "");
    check(hold(year), &format!("T@5 .@{}", year + 5), &format!("fire@{}/5x1", year + 5));
    let late = i64::MAX - 5;
    check(hold(10), &format!("T@{late} .@{}", i64::MAX), &format!("fire@{}/{late}x1", i64::MAX));
}

#[test]
fn time_does_not_go_back() {
    check(hold(10), "T@50 F@40 T@45 .@60", "fire@60/50x1");
    check(hold(10), "T@50 .@60 F@10", "fire@60/50x1 false@60/50x1");
}

#[test]
fn records_speak_of_the_last_true_message() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("T@0 T@4 U@5 .@10 T@12 F@13");
    let spoken: Vec<&[u8]> =
        bench.out.episodes.iter().map(|episode| &*episode.publish.payload).collect();
    assert_eq!(spoken, [b"a 4".as_slice(), b"a 12"]);
    let facts = &bench.out.episodes[1].facts;
    assert_eq!((facts.fired_at, facts.samples), (at(10), 3));
}

#[test]
fn memory_returns_when_keys_end() {
    let mut bench = Bench::new(vec![("r", when(&hold(DAY)))]);
    for round in 0..10 {
        for key in 0..20_000 {
            let key = format!("{round} {key}");
            bench.hear(0, &key, Truth::True, Truth::False, round);
            bench.hear(0, &key, Truth::False, Truth::False, round);
        }
        bench.table.forget_changes();
    }
    let rule = bench.table.rules.get(RuleIndex(0)).unwrap();
    assert_eq!(rule.keys.len(), 0);
    assert!(rule.keys.capacity() <= 64, "{}", rule.keys.capacity());
    assert_eq!(bench.table.keys.bytes(), 0);
    assert!(bench.table.timers.entries() <= 1024, "{}", bench.table.timers.entries());
}

#[test]
fn the_view_shows_what_fires_next_and_what_fired_last() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("a:T@0 b:T@1 c:T@2 d:T@3 e:T@4 .@11");
    let view = bench.table.view(RuleIndex(0), 2);
    let pending: Vec<_> = view.pending.iter().map(|key| (&*key.key, key.due)).collect();
    assert_eq!(pending, [("c", at(12)), ("d", at(13))]);
    let firing: Vec<_> = view.firing.iter().map(|key| (&*key.key, key.fired_at)).collect();
    assert_eq!(firing, [("b", at(11)), ("a", at(10))]);
    assert_eq!(bench.table.view(RuleIndex(0), 0), crate::engine::hold::HoldView::default());
}

#[test]
fn the_payload_copy_does_not_pin_the_buffer_it_came_in() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    let packet = Bytes::from(vec![b'x'; 4096]);
    let mut publish = message("a", 0);
    publish.payload = packet.slice(10..20);
    let observation = Observation {
        rule: RuleIndex(0),
        key: CompactString::from("a"),
        condition: Truth::True,
        clear: None,
        at: at(0),
        event_at: None,
        publish: Some(publish),
    };
    bench.table.observe(observation, &mut bench.out);
    assert!(packet.is_unique());
}
