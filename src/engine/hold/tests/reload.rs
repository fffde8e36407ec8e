//! What outlives a rule set.

use super::*;

#[test]
fn a_shorter_duration_applies_at_once_and_a_longer_one_leaves_firing_alone() {
    let mut bench = Bench::new(vec![("r", when(&hold(100)))]);
    bench.play("T@0 b:T@15 .@20");
    bench.rules[0].1 = when(&hold(10));
    reload(&mut bench, 20);
    bench.pass(20);
    assert_eq!(bench.told(), "fire@20/0x1");
    bench.rules[0].1 = when(&hold(1000));
    reload(&mut bench, 22);
    bench.play(".@100 F@200 .@2000");
    assert_eq!(bench.told(), "false@200/0x1 b:fire@1015/15x1");
}

pub(super) fn reload(bench: &mut Bench, now: i64) {
    let mut table = std::mem::replace(&mut bench.table, HoldTable::new([]));
    let mut out = std::mem::take(&mut bench.out);
    table.rebuild(bench.watched(), at(now), &mut out);
    (bench.table, bench.out) = (table, out);
}

#[test]
fn a_changed_rule_clears_what_fires_and_forgets_what_is_pending() {
    for restart in [false, true] {
        let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
        bench.play("T@0 b:T@5 .@12");
        bench.commit();
        assert_eq!(bench.disk.len(), 2);
        bench.rules[0].2 = 8;
        if restart {
            let restored = bench.restart(12, 13);
            assert_eq!((restored.kept, restored.ended), (0, 2));
        } else {
            reload(&mut bench, 13);
        }
        bench.play(".@99");
        assert_eq!(bench.told(), "fire@10/0x1 rule_changed@13/0x1");
        bench.commit();
        assert!(bench.disk.is_empty(), "{:?}", bench.disk.keys());
    }
}

#[test]
fn a_rule_that_is_gone_leaves_orphans_and_no_rows() {
    for restart in [false, true] {
        let mut bench = Bench::new(vec![("r", when(&hold(10))), ("s", when(&hold(10)))]);
        bench.play("T@0 b:T@5 .@12");
        bench.commit();
        bench.rules.remove(0);
        if restart {
            bench.restart(12, 13);
        } else {
            reload(&mut bench, 13);
        }
        let [orphan] = &bench.out.orphans[..] else { panic!("{:?}", bench.out.orphans) };
        assert_eq!((&*orphan.rule, &*orphan.facts.key, orphan.at), ("r", "a", at(13)));
        assert_eq!(&*orphan.publish.payload, b"a 0");
        bench.commit();
        assert!(bench.disk.is_empty());
        bench.out.clear();
        // Created again, it starts afresh.
        bench.rules = vec![(Arc::from("r"), when(&hold(10)), 7)];
        reload(&mut bench, 14);
        bench.play(".@20 T@21 .@99");
        assert_eq!(bench.told(), "fire@31/21x1");
    }
}

#[test]
fn rules_may_change_places_in_a_reload() {
    let mut bench = Bench::new(vec![("r", when(&hold(10))), ("s", when(&hold(20)))]);
    bench.hear(0, "a", Truth::True, Truth::False, 0);
    bench.hear(1, "a", Truth::True, Truth::False, 0);
    bench.rules.reverse();
    reload(&mut bench, 5);
    bench.pass(99);
    assert_eq!(bench.told(), "fire#1@10/0x1 fire@20/0x1");
}

#[test]
fn timers_of_one_instant_keep_their_turns_over_a_reload() {
    let mut bench = Bench::new(vec![("r", when(&hold(10))), ("s", when(&hold(10)))]);
    for (rule, key) in [(1, "x"), (0, "y"), (1, "z"), (0, "w")] {
        bench.hear(rule, key, Truth::True, Truth::False, 0);
    }
    reload(&mut bench, 5);
    bench.pass(10);
    let fired: Vec<_> = bench.out.episodes.iter().map(|episode| &*episode.facts.key).collect();
    assert_eq!(fired, ["x", "y", "z", "w"]);
}
