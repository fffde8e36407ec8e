//! Repetitions when the gateway has stood still: told late of everything, by the clock that it reads then.

use super::*;

/// Fires at 10, repeats every 5; hears nothing from 12 on, and then everything when the clock reads `present`.
fn late(plan: Plan, present: i64, timeline: &str) -> (String, u64) {
    let mut bench = Bench::new(vec![("r", when(&plan))]);
    bench.play("T@0 .@12");
    bench.told();
    bench.table.tell_time(at(present));
    bench.play(timeline);
    let missed = bench.table.counts(RuleIndex(0)).expect("the rule").missed;
    (bench.told(), missed)
}

fn repeating() -> Plan {
    Plan { repeat: Some(5), ..hold(10) }
}

#[test]
fn of_repetitions_that_are_due_at_once_the_last_is_made() {
    let said = |text: &str, missed: u64| (text.to_owned(), missed);
    assert_eq!(late(repeating(), 100, ".@100"), said("fire@100/0x1", 17));
    assert_eq!(late(repeating(), 104, ".@104 .@105"), said("fire@100/0x1 fire@105/0x1", 17));
    assert_eq!(late(repeating(), 19, ".@19"), said("fire@15/0x1", 0));
}

#[test]
fn what_came_during_the_standstill_is_judged_as_of_its_time() {
    let said = |text: &str, missed: u64| (text.to_owned(), missed);
    assert_eq!(late(repeating(), 100, "F@32 .@100"), said("false@32/0x1", 4));
    assert_eq!(
        late(Plan { clear_for: 3, ..repeating() }, 100, "F@18 .@100"),
        said("false@21/0x1", 2)
    );
    assert_eq!(
        late(repeating(), 100, "T@98 F@99 T@100"),
        said("false@99/0x2", 17),
        "the repetition of 100 is not of this episode"
    );
}

#[test]
fn where_nobody_tells_the_time_every_repetition_is_made() {
    let mut bench = Bench::new(vec![("r", when(&repeating()))]);
    bench.play("T@0 .@100");
    assert_eq!(bench.out.episodes.len(), 1 + 18);
    assert_eq!(bench.table.counts(RuleIndex(0)).expect("the rule").missed, 0);
}
