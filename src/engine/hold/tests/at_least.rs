//! AT LEAST: the count is what is true, and it lapses by itself.

use super::*;

fn counted(times: u32, within: i64) -> Plan {
    Plan { at_least: Some((times, within)), ..hold(0) }
}

#[test]
fn the_message_that_completes_the_count_fires() {
    check(counted(3, 10), "T@0 T@4 .@99", "");
    check(counted(3, 10), "T@0 T@4 T@10 .@10", "fire@10/10x3");
    check(counted(3, 10), "T@0 T@4 T@11 .@11", "");
    check(counted(3, 10), "T@0 T@4 T@11 T@14 .@14", "fire@14/14x3");
    check(counted(1, 10), "T@0 .@99", "fire@0/0x1 false@10/0x1");
    check(counted(2, 10), "T@3 T@3", "fire@3/3x2");
}

#[test]
fn it_lapses_when_fewer_remain_and_not_before() {
    check(counted(2, 10), "T@0 T@4 .@10", "fire@4/4x2");
    check(counted(2, 10), "T@0 T@4 .@11", "fire@4/4x2 false@10/4x2");
    check(counted(2, 10), "T@0 T@4 T@10 .@14", "fire@4/4x2");
    check(counted(2, 10), "T@0 T@4 T@10 .@99", "fire@4/4x2 false@14/4x3");
    check(counted(2, 10), "T@0 T@4 T@11 .@11", "fire@4/4x2 false@10/4x2 fire@11/11x2");
}

#[test]
fn false_and_unknown_take_nothing_from_the_count() {
    check(counted(3, 10), "T@0 F@1 T@2 U@3 F@4 T@5 F@6 .@10", "fire@5/5x3");
}

#[test]
fn beside_for_the_count_must_stay() {
    let plan = Plan { hold_for: 6, ..counted(2, 10) };
    check(plan, "T@0 T@4 .@99", "fire@10/4x2 false@10/4x2");
    check(Plan { hold_for: 7, ..plan }, "T@0 T@4 .@99", "");
    check(Plan { hold_for: 7, ..plan }, "T@0 T@4 T@9 .@99", "fire@11/4x3 false@14/4x3");
    // Lapsed while it was pending; what is left counts on.
    check(Plan { hold_for: 7, ..plan }, "T@0 T@4 T@11 T@13 .@18", "fire@18/11x3");
}

#[test]
fn clear_when_ends_the_episode_and_the_count() {
    let plan = Plan { clear_when: true, ..counted(2, 10) };
    check(plan, "T@0 T@1 .@99 C@100", "fire@1/1x2 clear_when@100/1x2");
    check(plan, "T@0 T@1 C@2 T@3 .@99", "fire@1/1x2 clear_when@2/1x2");
    check(plan, "T@0 T@1 C@2 T@3 T@4", "fire@1/1x2 clear_when@2/1x2 fire@4/4x2");
}

#[test]
fn a_true_message_that_leaves_too_few_is_judged_by_clear_when() {
    let mut bench = Bench::new(vec![("r", when(&Plan { clear_when: true, ..counted(2, 10) }))]);
    bench.play("T@0 T@1");
    bench.hear(0, "a", Truth::True, Truth::True, 5);
    assert_eq!(bench.told(), "fire@1/1x2", "the count is reached: it counts as TRUE");
    bench.hear(0, "a", Truth::True, Truth::True, 50);
    assert_eq!(bench.told(), "clear_when@50/1x4");
}

#[test]
fn clear_for_and_keep_begin_where_the_count_lapses() {
    let clear_for = Plan { clear_for: 5, ..counted(2, 10) };
    check(clear_for, "T@0 T@4 .@99", "fire@4/4x2 false@15/4x2");
    check(clear_for, "T@0 T@4 T@12 .@18", "fire@4/4x2");
    let keep = Plan { keep: 5, ..counted(2, 10) };
    check(keep, "T@0 T@4 .@99", "fire@4/4x2 false@15/4x2");
    check(keep, "T@0 T@4 T@12 T@30 .@40", "fire@4/4x2 false@19/4x3");
}

#[test]
fn a_gap_ends_the_count() {
    let plan = Plan { gap: Some((5, false)), ..counted(3, 20) };
    check(plan, "T@0 T@5 T@10 .@15", "fire@10/10x3");
    check(plan, "T@0 T@5 T@10 .@99", "fire@10/10x3 gap@15/10x3");
    check(plan, "T@0 T@5 T@11 .@12", "");
    check(plan, "T@0 T@5 F@10 T@13 .@14", "fire@13/13x3");
}

#[test]
fn a_gap_that_hold_held_starts_the_count_over_when_the_episode_ends() {
    let plan = Plan { gap: Some((2, true)), ..counted(2, 7) };
    check(plan, "T@0 T@1 T@8 .@99", "fire@1/1x2 false@7/1x2");
    check(plan, "T@0 T@1 T@8 T@9 .@9", "fire@1/1x2 false@7/1x2 fire@9/9x2");
    // The FALSE is known too, and 8 is not past its limit.
    check(plan, "T@0 T@1 F@6 T@8 .@8", "fire@1/1x2 false@7/1x2 fire@8/8x2");
    // KEEP ends at the instant of the message, before it.
    check(Plan { keep: 1, ..plan }, "T@0 T@1 T@8 .@99", "fire@1/1x2 false@8/1x2");
    for timeline in ["T0@0 T1@1 T8@2 .@99", "T8@0 T0@1 T1@2 .@99"] {
        let mut bench = event_time::bench(when(&plan), 8);
        bench.play(timeline);
        assert_eq!(bench.told(), "fire@1/1x2 false@7/1x2", "for {timeline}");
    }
}

#[test]
fn it_repeats_while_the_count_is_reached() {
    let plan = Plan { repeat: Some(5), ..counted(2, 10) };
    check(plan, "T@0 T@2 .@99", "fire@2/2x2 fire@7/2x2 false@10/2x2");
}

#[test]
fn downtime_is_left_out_of_the_count_unless_it_counts() {
    check(counted(2, 10), "T@0 down@4..100 T@106", "fire@106/106x2");
    check(counted(2, 10), "T@0 down@4..100 T@107", "");
    check(counted(2, 10), "T@0 T@2 down@4..100 .@107", "fire@2/2x2 false@106/2x2");
    let with = |on_restart| When { on_restart, ..when(&counted(2, 10)) };
    check_when(with(OnRestart::Count), "T@0 down@4..10 T@10", "fire@10/10x2");
    check_when(with(OnRestart::Count), "T@0 down@4..11 T@11", "");
    check_when(with(OnRestart::Count), "T@0 T@2 down@4..100", "fire@2/2x2 false@10/2x2");
    check_when(with(OnRestart::Reset), "T@0 down@4..5 T@6 .@7", "");
}

#[test]
fn keys_that_count_are_bounded_and_go_when_nothing_counts() {
    let mut bench = Bench::new(vec![("r", when(&counted(2, 10)))]);
    bench.keys_max = 2;
    bench.table = HoldTable::new(bench.watched());
    bench.play("T@0 b:T@0 c:T@0");
    assert_eq!(bench.out.faults[0].code, FaultCode::HoldKeysFull);
    assert_eq!(bench.table.counts(RuleIndex(0)).unwrap().counting, 2);
    bench.play(".@11");
    bench.commit();
    assert_eq!(
        bench.table.counts(RuleIndex(0)).unwrap(),
        HoldCounts { refused: 1, ..HoldCounts::default() }
    );
    assert_eq!((bench.disk.len(), bench.table.next_deadline()), (0, None));
}

#[test]
fn each_key_keeps_as_many_times_as_are_counted_to() {
    let mut bench = Bench::new(vec![("r", when(&counted(1000, DAY)))]);
    for time in 0..100_000 {
        bench.hear(0, "a", Truth::True, Truth::False, time);
    }
    assert_eq!(bench.told(), "fire@999/999x1000");
    let counts = bench.table.counts(RuleIndex(0)).unwrap();
    assert!(counts.message_bytes < 10_000, "{}", counts.message_bytes);
}

#[test]
fn in_event_time_the_order_of_arrival_changes_nothing() {
    let mut bench = event_time::bench(when(&counted(3, 10)), 5);
    bench.play("T0@0 T8@1 T4@2 T30@3");
    assert_eq!(bench.told(), "fire@8/8x3 false@10/8x3");
}
