//! One rule set takes over from another: what becomes of batches that the old one judged.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::pass::Pass;
use super::plans::SharedPlan;
use super::rules::Rules;
use super::rules::RunningRules;
use super::stage::AfterCommit;
use super::stage::GatewayStage;
use super::stage::Remembered;
use super::stage::Work;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::history::HistoryTable;
use crate::engine::hold::HoldView;
use crate::engine::hold::Transitions;
use crate::engine::stateful::StateTable;
use crate::journal::Batch;
use crate::journal::Effect;
use crate::journal::Stage;
use crate::latest::Kept;
use crate::limits::PLANS_SHARED_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::rule::set;
use crate::rule::set::Source;
use crate::rule::set::Targets;
use crate::rule::table::NoFiles;
use crate::topic::TopicName;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// Nobody listens.
#[derive(Default)]
struct Nobody {
    has_no_room: bool,
}

impl AfterCommit for Nobody {
    fn publish(&mut self, message: Publish) {
        assert!(!(self.has_no_room && message.retain), "{message:?}");
    }

    fn may_retain(&mut self, _message: &Publish) -> bool {
        !self.has_no_room
    }

    fn hits_logged(&mut self) {}
}

struct Bench {
    running: Arc<RunningRules>,
    stage: GatewayStage<Nobody>,
    batch: Batch,
}

fn compile(text: &str, before: Option<&Rules>) -> Arc<Rules> {
    let source = Source { path: "test.rule".into(), content: Ok(text.as_bytes().to_vec()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    let config = Config::default();
    let engine = Engine::new(checked.rules, &config.account_id);
    Arc::new(Rules::new(engine, &config, before))
}

fn publish(topic: &str, payload: &str) -> Publish {
    Publish {
        topic: TopicName::parse(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: NOW,
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}

impl Bench {
    fn new(text: &str) -> Self {
        Bench::before(text, Nobody::default())
    }

    fn before(text: &str, after: Nobody) -> Self {
        let (rules, config) = (compile(text, None), Config::default());
        let remembered = Remembered {
            states: StateTable::new(rules.stateful()),
            history: HistoryTable::new(rules.remembering()),
            kept: Kept::new(super::table_bounds(&config)),
            transitions: Transitions::default(),
        };
        let running = Arc::new(RunningRules::new(rules));
        let stage = GatewayStage::new(Arc::clone(&running), remembered, after);
        Bench { running, stage, batch: Batch::default() }
    }

    /// A message as a connection judges it now; what the stage makes of it comes with [`Bench::apply`].
    fn judge(&self, topic: &str, payload: &str) -> Work {
        let rules = self.running.get();
        let mut pass = Pass::default();
        pass.take(&rules, &publish(topic, payload));
        Work::Messages {
            rules,
            outcome: pass.take_outcome(),
            observations: std::mem::take(&mut pass.observations),
        }
    }

    fn apply(&mut self, work: Work) {
        self.stage.apply(NOW, work, &mut self.batch);
    }

    fn replace(&mut self, text: &str) {
        let rules = compile(text, Some(&self.running.get()));
        self.apply(Work::Replace(rules));
    }

    /// The records of the batch so far, as `stream data`, and its hits, as `rule event`.
    fn take(&mut self) -> (Vec<String>, Vec<String>) {
        let record = |effect: Effect| match effect {
            Effect::Stream { stream, data, .. } => {
                format!("{stream} {}", String::from_utf8_lossy(&data))
            }
            other => format!("{other:?}"),
        };
        let hits = self.batch.hits.drain(..).map(|hit| format!("{} {}", hit.rule, hit.event));
        let hits = hits.collect();
        (self.batch.effects.drain(..).map(record).collect(), hits)
    }

    fn view(&mut self, rule: &str) -> HoldView {
        let (answer, mut view) = oneshot::channel();
        self.apply(Work::View { rule: rule.into(), limit: 10, answer });
        view.try_recv().unwrap()
    }
}

const EDGE: &str =
    "CREATE RULE edge AS SELECT n, hold.reason AS r FROM 'in' WHEN n > 5 FOR 0 SECONDS
    DO STREAM fired KEY 'k' ON CLEARED DO STREAM cleared KEY 'k';";

#[test]
fn a_retained_message_that_has_no_room_is_not_committed_either() {
    let rule = "CREATE RULE a AS SELECT n FROM 'in' DO REPUBLISH 'out' RETAIN;";
    let kept = |has_no_room| {
        let mut bench = Bench::before(rule, Nobody { has_no_room });
        let work = bench.judge("in", r#"{"n":1}"#);
        bench.apply(work);
        bench.stage.committed(&bench.batch);
        let is_retained =
            |effect: &&Effect| matches!(effect, Effect::Retain(publish) if publish.retain);
        bench.batch.effects.iter().filter(is_retained).count()
    };
    assert_eq!((kept(false), kept(true)), (1, 0));
}

#[test]
fn the_effects_of_a_late_batch_stand() {
    let mut bench = Bench::new("CREATE RULE a AS SELECT n FROM 'in' DO STREAM old KEY 'k';");
    let late = bench.judge("in", r#"{"n":1}"#);
    bench.replace("CREATE RULE a AS SELECT n + 1 AS n FROM 'in' DO STREAM new KEY 'k';");
    bench.apply(late);
    let next = bench.judge("in", r#"{"n":2}"#);
    bench.apply(next);
    assert_eq!(bench.take().0, [r#"old {"n":1}"#, r#"new {"n":3}"#]);
}

#[test]
fn what_was_observed_late_goes_on_where_the_rule_watches_the_same() {
    let hold = "CREATE RULE hold AS SELECT n FROM 'in' WHEN n > 5 FOR 1 HOUR DO LOG;";
    let mut bench = Bench::new(hold);
    let late = bench.judge("in", r#"{"n":6}"#);
    // The rule has another place, another duration and another SELECT.
    bench.replace(
        "CREATE RULE first AS SELECT n FROM 'in' WHEN n > 7 FOR 1 HOUR DO LOG;
         CREATE RULE hold AS SELECT n + 1 AS n FROM 'in' WHEN n > 5 FOR 2 HOURS DO LOG;",
    );
    bench.apply(late);
    assert_eq!(bench.view("first").pending.len(), 0);
    let pending = bench.view("hold").pending;
    assert_eq!((pending.len(), pending[0].samples), (1, 1));
}

#[test]
fn what_was_observed_late_for_a_changed_rule_is_played_to_its_end() {
    let mut bench = Bench::new(EDGE);
    let late = bench.judge("in", r#"{"n":6}"#);
    bench.replace(&EDGE.replace("n > 5", "n > 7").replace("SELECT n,", "SELECT n * 10 AS n,"));
    bench.apply(late);
    let (records, hits) = bench.take();
    let cleared = r#"cleared {"n":60,"r":"rule_changed"}"#;
    assert_eq!(records, [r#"fired {"n":6}"#, cleared], "fired by the old, cleared by the new");
    assert_eq!(hits, ["edge firing", "edge cleared"]);
    assert_eq!(bench.view("edge"), HoldView::default());
    // A condition that has not held long enough leaves nothing.
    let slow = EDGE.replace("FOR 0 SECONDS", "FOR 1 SECOND");
    let mut bench = Bench::new(&slow);
    let late = bench.judge("in", r#"{"n":6}"#);
    bench.replace(&slow.replace("n > 5", "n > 7"));
    bench.apply(late);
    assert_eq!(bench.take(), (vec![], vec![]));
}

#[test]
fn what_was_observed_late_for_a_removed_rule_is_played_to_its_end() {
    let mut bench = Bench::new(EDGE);
    let late = bench.judge("in", r#"{"n":6}"#);
    bench.replace("CREATE RULE b AS SELECT * FROM 'b' DO LOG;");
    bench.apply(late);
    let (records, hits) = bench.take();
    assert_eq!(records, [r#"fired {"n":6}"#]);
    assert_eq!(hits, ["edge firing", "edge cleared"]);
}

#[test]
fn what_a_late_episode_republishes_is_judged_by_the_old_set() {
    let old = "CREATE RULE edge AS SELECT n FROM 'in' WHEN n > 5 FOR 0 SECONDS DO REPUBLISH 'mid';
         CREATE RULE next AS SELECT n FROM 'mid' WHEN n > 5 FOR 0 SECONDS DO STREAM old KEY 'k';
         CREATE RULE kept AS SELECT n FROM 'mid' WHEN n > 4 FOR 0 SECONDS DO STREAM kept KEY 'k';
         CREATE RULE plain AS SELECT n FROM 'mid' DO STREAM plain KEY 'k';";
    let mut bench = Bench::new(old);
    let late = bench.judge("in", r#"{"n":6}"#);
    bench.replace(
        "CREATE RULE kept AS SELECT n FROM 'mid' WHEN n > 4 FOR 0 SECONDS DO STREAM kept KEY 'k';
         CREATE RULE plain AS SELECT n FROM 'mid' DO STREAM other KEY 'k';",
    );
    bench.apply(late);
    let records = bench.take().0;
    assert_eq!(records, [r#"plain {"n":6}"#, r#"old {"n":6}"#, r#"kept {"n":6}"#]);
    assert_eq!(bench.view("kept").firing.len(), 1, "its state is the running set's");
}

#[test]
fn a_batch_is_judged_whole_by_the_set_that_it_met() {
    let mut bench = Bench::new("CREATE RULE a AS SELECT n FROM 'in' DO STREAM one KEY 'k';");
    let held = bench.running.hold();
    bench.replace("CREATE RULE a AS SELECT n FROM 'in' DO STREAM two KEY 'k';");
    assert_eq!((held.generation, bench.running.hold().generation), (1, 2));
    let mut pass = Pass::default();
    let streams = |pass: &mut Pass| -> Vec<String> {
        let effects = pass.take_outcome().effects;
        effects
            .iter()
            .map(|effect| match effect {
                Effect::Stream { stream, .. } => stream.to_string(),
                other => format!("{other:?}"),
            })
            .collect()
    };
    pass.take(&held, &publish("in", "{}"));
    pass.take(&held, &publish("in", "{}"));
    assert_eq!(streams(&mut pass), ["one", "one"]);
    // The plans of the set before are not used again.
    pass.take(&bench.running.hold(), &publish("in", "{}"));
    assert_eq!(streams(&mut pass), ["two"]);
}

#[test]
fn counters_go_on_by_name_and_sums_forget_nothing() {
    let rule = |name: &str| format!("CREATE RULE {name} AS SELECT * FROM 'in' DO LOG;");
    let first = compile(&(rule("a") + &rule("b")), None);
    first.tallies.rule(first.place("a").unwrap()).hits.inc_by(3);
    first.tallies.rule(first.place("b").unwrap()).hits.inc_by(5);
    let second = compile(&(rule("c") + &rule("a")), Some(&first));
    let hits =
        |rules: &Rules, name: &str| rules.tallies.rule(rules.place(name).unwrap()).hits.get();
    assert_eq!((hits(&second, "a"), hits(&second, "c")), (3, 0));
    // A batch that was judged before the removal still counts.
    first.tallies.rule(first.place("b").unwrap()).hits.inc();
    assert_eq!(second.tallies.sums().hits, 9);
    let third = compile(&rule("b"), Some(&second));
    assert_eq!(hits(&third, "b"), 0, "another rule of that name");
    assert_eq!(third.tallies.sums().hits, 9);
    let fourth = compile(&rule("b"), Some(&third));
    assert_eq!(fourth.tallies.sums().hits, 9);
}

#[test]
fn what_a_plan_counts_goes_to_each_of_its_rules_and_over_a_reload() {
    let rules = |names: std::ops::Range<u32>| -> String {
        let rule = |i| format!("CREATE RULE r{i} AS SELECT * FROM 'in/+' WHERE t > {i} DO LOG;");
        names.map(rule).collect()
    };
    let counts = |rules: &Rules, name: &str| {
        let tally = rules.counted().rule(rules.place(name).unwrap());
        (tally.topic_matches.get(), tally.unknown.get())
    };
    let first = compile(&rules(0..20), None);
    let (mut one, mut other) = (Pass::default(), Pass::default());
    one.take(&first, &publish("in/1", r#"{"t":-1}"#));
    other.take(&first, &publish("in/2", "{}"));
    assert!(Arc::ptr_eq(&plan_of(&first, "in/1"), &plan_of(&first, "in/2")), "one for both topics");
    assert_eq!((counts(&first, "r0"), counts(&first, "r19")), ((2, 1), (2, 1)));
    one.take(&first, &publish("in/1", "{}"));
    let second = compile(&rules(1..21), Some(&first));
    assert_eq!((counts(&second, "r1"), counts(&second, "r20")), ((3, 2), (0, 0)));
    // A batch that was judged before the reload counts when its set is given back.
    other.take(&first, &publish("in/2", "{}"));
    assert_eq!(counts(&second, "r1"), (3, 2));
    drop(first);
    assert_eq!(counts(&second, "r1"), (4, 3));
    assert_eq!(second.counted().sums().unknown, 3 * 20, "with r0, which is gone");
}

fn plan_of(rules: &Rules, topic: &str) -> Arc<SharedPlan> {
    rules.plan(&TopicName::parse(topic).unwrap())
}

#[test]
fn plans_that_nobody_holds_make_room_and_lose_no_count() {
    let topics = PLANS_SHARED_MAX + 10;
    let text: String = (0..topics)
        .map(|i| format!("CREATE RULE r{i} AS SELECT * FROM 'in/{i}' DO LOG;"))
        .collect();
    let rules = compile(&text, None);
    let held = plan_of(&rules, "in/0");
    for topic in 0..topics {
        plan_of(&rules, &format!("in/{topic}")).count(&[]);
    }
    held.count(&[]);
    assert!(Arc::ptr_eq(&held, &plan_of(&rules, "in/0")), "one that is held stays");
    let matches = |name: &str| rules.counted().rule(rules.place(name).unwrap()).topic_matches.get();
    assert_eq!((matches("r0"), matches("r1"), matches(&format!("r{}", topics - 1))), (2, 1, 1));
}

const CHANGED: &str = "CREATE RULE a AS SELECT n, lag(n) AS before FROM 'in' WHERE had_changed(n) DO STREAM old KEY 'k';";

#[test]
fn a_late_message_is_remembered_by_the_rule_that_remembers_the_same() {
    let mut bench = Bench::new(CHANGED);
    let first = bench.judge("in", r#"{"n":1}"#);
    bench.apply(first);
    let late = bench.judge("in", r#"{"n":2}"#);
    bench.replace(&CHANGED.replace("SELECT n,", "SELECT").replace("old", "new"));
    bench.apply(late);
    let next = bench.judge("in", r#"{"n":2}"#);
    bench.apply(next);
    assert_eq!(bench.take().0, [r#"old {"n":1}"#, r#"new {"before":1}"#]);
}

#[test]
fn a_late_message_for_a_changed_rule_is_judged_by_the_old_one_and_not_remembered() {
    for replacement in [
        CHANGED.replace("lag(n)", "lag(n, 2)").replace("old", "new"),
        CHANGED.replace("RULE a", "RULE b").replace("old", "new"),
    ] {
        let mut bench = Bench::new(CHANGED);
        let first = bench.judge("in", r#"{"n":1}"#);
        bench.apply(first);
        let late = bench.judge("in", r#"{"n":2}"#);
        bench.replace(&replacement);
        bench.apply(late);
        let next = bench.judge("in", r#"{"n":2}"#);
        bench.apply(next);
        assert_eq!(bench.take().0, [r#"old {"n":1}"#, r#"old {"n":2}"#, r#"new {"n":2}"#]);
    }
}

#[test]
fn what_waits_to_be_remembered_is_judged_before_its_rule_changes() {
    let timed = CHANGED.replace("FROM 'in'", "FROM 'in' TIMESTAMP BY ts LATENESS 1 HOUR");
    let mut bench = Bench::new(&timed);
    for payload in [r#"{"n":2,"ts":2000}"#, r#"{"n":1,"ts":1000}"#] {
        let work = bench.judge("in", payload);
        bench.apply(work);
    }
    bench.replace(&timed.replace("SELECT n,", "SELECT").replace("1 HOUR", "2 HOURS"));
    assert!(bench.take().0.is_empty(), "it goes on waiting");
    bench.replace(&timed.replace("had_changed(n)", "n > 0"));
    assert_eq!(bench.take().0, [r#"old {}"#, r#"old {"before":1}"#]);
}
