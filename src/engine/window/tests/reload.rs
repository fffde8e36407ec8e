//! Another rule set takes over while windows are open.

use super::*;

fn reloaded(before: &str, after: &str) -> Bench {
    let mut bench = Bench::new(before);
    bench.publish(1_000, &payload("a", "1"));
    bench.engine = engine(after);
    let rules: Vec<_> = bench.engine.stateful(GROUPS_MAX).collect();
    bench.table.rebuild(rules, at(2_000), &mut bench.out);
    bench.commit();
    bench.publish(3_000, &payload("a", "2"));
    bench.advance(20_000);
    bench
}

const BEFORE: &str = "CREATE RULE r AS SELECT k, sum(v) AS sum FROM 'm/+'
    GROUP BY k, TUMBLE(10 SECONDS) DO LOG;";

#[test]
fn what_is_made_of_a_window_may_change_while_it_is_open() {
    let after = "CREATE RULE r AS SELECT sum(v) + 1 AS more FROM 'm/+'
        GROUP BY k, TUMBLE(10 SECONDS) HAVING sum(v) > 2 DO LOG 'x', LOG;";
    let mut bench = reloaded(BEFORE, after);
    assert_eq!(bench.told(), [r#"10000 {"more":4}"#]);
    assert!(bench.faults.is_empty());
}

#[test]
fn a_rule_that_gathers_something_else_starts_afresh_and_says_so() {
    for (from, to) in [
        ("TUMBLE(10 SECONDS)", "TUMBLE(5 SECONDS)"),
        ("sum(v)", "min(v)"),
        ("GROUP BY k", "GROUP BY k, 1 = 1"),
        ("'m/+'", "'m/+' WHERE v > 0"),
    ] {
        let mut bench = reloaded(BEFORE, &BEFORE.replace(from, to));
        assert_eq!(bench.faults, ["window_discarded"], "{to}");
        let told = bench.told();
        assert!(told.len() == 1 && told[0].contains(":2"), "{to}: {told:?}");
        assert!(bench.rows.is_empty() && bench.parts.is_empty(), "{to}");
    }
}

#[test]
fn the_windows_of_a_rule_that_is_gone_go_with_it() {
    let after = "CREATE RULE r AS SELECT k FROM 'm/+' WHEN v > 5 FOR 1 HOUR PARTITION BY k DO LOG;";
    let mut bench = reloaded(BEFORE, after);
    assert!(bench.told().is_empty() && bench.rows.is_empty() && bench.parts.is_empty());
    // Over a restart too, and a key of the same name is another matter.
    let mut bench = Bench::new(BEFORE);
    bench.publish(1_000, &payload("a", "9"));
    bench.engine = engine(after);
    let restored = bench.restart(2_000, 3_000);
    assert_eq!((restored.kept, restored.ended), (0, 1));
    assert!(bench.rows.is_empty() && bench.parts.is_empty());
    bench.publish(4_000, &payload("a", "9"));
    assert_eq!(bench.rows.len(), 1);
}
