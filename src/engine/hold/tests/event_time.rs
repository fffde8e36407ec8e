//! Event time. In the timelines `T5@20` arrives at 20 and is of event time 5; records are in event time.

use super::*;
use crate::limits::EVENT_KEY_REST;
use crate::limits::EVENT_REPEATS_MAX;
use crate::limits::EVENT_WAITING_PER_KEY_MAX;

pub(super) fn bench(when: When, lateness: i64) -> Bench {
    let mut bench = Bench::new(vec![("r", when)]);
    bench.timestamp = Some(TimestampBy {
        expr: Expr { kind: ExprKind::Star, span: 0..0 },
        unit: TimeUnit::Milliseconds,
        lateness: millis(lateness),
        span: 0..0,
    });
    bench.table = HoldTable::new(bench.watched());
    bench
}

#[track_caller]
fn check(plan: Plan, lateness: i64, timeline: &str, expected: &str) {
    let mut bench = bench(when(&plan), lateness);
    bench.play(timeline);
    assert_eq!(bench.told(), expected, "for {timeline}");
}

#[track_caller]
fn check_restart(on_restart: OnRestart, lateness: i64, timeline: &str, expected: &str) {
    let mut bench = bench(When { on_restart, ..when(&hold(10)) }, lateness);
    bench.play(timeline);
    assert_eq!(bench.told(), expected, "for {timeline}");
}

fn counts(bench: &Bench) -> (u64, u64, usize) {
    let counts = bench.table.counts(RuleIndex(0)).unwrap();
    (counts.event.late, counts.event.early, counts.event.waiting)
}

#[test]
fn a_backfilled_day_fires_with_its_own_times() {
    check(hold(10), 0, "T100@5000 T105@5000 T112@5000 F120@5000", "fire@110/100x2 false@120/100x3");
    check(hold(10), 0, "T100@5000 F109@5000 .@9000", "");
}

#[test]
fn messages_are_put_in_order_within_the_lateness() {
    let ordered = "fire@110/100x1 false@111/100x1";
    check(hold(10), 5, "T100@0 F111@0 T113@0 F116@0", ordered);
    check(hold(10), 5, "T100@0 T113@0 F111@0 F116@0", ordered);
    // The FALSE between them comes late, and in time.
    check(hold(10), 5, "T100@0 T107@0 F103@0 T112@0 T117@0 F122@0", "fire@117/107x2");
    check(hold(10), 5, "T100@0 T107@0 T112@0 F103@0 F122@0", "fire@110/100x2");
}

#[test]
fn a_late_message_is_counted_handed_over_and_changes_nothing() {
    let mut bench = bench(when(&hold(10)), 5);
    bench.play("T100@0 T112@3 F106@3 F107@3");
    assert_eq!(bench.told(), "");
    assert_eq!(counts(&bench).0, 1);
    bench.play("F101@4");
    let [late] = &bench.out.passed_over[..] else { panic!("{:?}", bench.out.passed_over) };
    assert_eq!(late.fault.code, FaultCode::LateRecord);
    assert_eq!(&*late.publish.payload, b"a 101");
    assert_eq!(
        late.fault.message,
        "late record: its time 1970-01-01T00:00:00.101Z is before 1970-01-01T00:00:00.107Z, the \
         watermark of key a"
    );
}

#[test]
fn a_late_message_does_not_take_a_firing_back() {
    check(hold(10), 0, "T100@0 T115@1 F105@1 F116@2", "fire@110/100x1 false@116/100x2");
}

#[test]
fn messages_of_one_event_time_count_in_the_order_they_arrive() {
    check(hold(10), 0, "F100@0 T100@0 .@10", "fire@110/100x1");
    check(hold(10), 0, "T100@0 F100@0 .@10", "");
    check(hold(10), 5, "F100@0 T100@1 .@16", "fire@110/100x1");
}

#[test]
fn on_idle_timers_run_when_the_arrival_clock_has_come_as_far() {
    check(hold(10), 0, "T100@5000 .@5009", "");
    check(hold(10), 0, "T100@5000 .@5010", "fire@110/100x1");
    check(hold(10), 5, "T100@5000 .@5014", "");
    check(hold(10), 5, "T100@5000 .@5015", "fire@110/100x1");
    // What waits is judged on idle too.
    check(hold(2), 5, "T100@0 F103@4 .@7", "");
    check(hold(2), 5, "T100@0 F103@4 .@9", "fire@102/100x1 false@103/100x1");
    // An older message does not set the idle clock back.
    check(hold(10), 5, "T100@0 U99@9 .@15", "fire@110/100x1");
}

#[test]
fn a_message_in_order_is_not_late_however_slow_the_clock() {
    let mut bench = bench(when(&hold(5000)), 0);
    bench.play("F100@0 T101@1000 T102@2000 .@6998");
    assert_eq!((bench.told().as_str(), counts(&bench).0), ("", 0));
    bench.play(".@6999");
    assert_eq!(bench.told(), "fire@5101/101x2");
    bench.play("F5100@7000");
    assert_eq!(counts(&bench).0, 1, "what fired by the idle clock is not taken back");
    bench.play("F5101@7000");
    assert_eq!(bench.told(), "false@5101/101x2");
}

#[test]
fn unknown_moves_the_watermark_and_nothing_else() {
    check(hold(10), 0, "T100@0 U110@0", "fire@110/100x1");
    check(hold(10), 0, "T100@0 U105@0 F106@0 .@99", "");
    let clear_when = Plan { clear_when: true, ..hold(0) };
    check(clear_when, 5, "T100@0 c101@0 .@99", "fire@100/100x1 clear_when@101/100x1");
}

#[test]
fn keys_have_watermarks_of_their_own() {
    let hour = 3_600_000;
    let timeline = format!("T{hour}@0 b:T100@0 b:T110@1 F{}@2", hour + 10);
    check(
        hold(10),
        0,
        &timeline,
        &format!("b:fire@110/100x1 fire@{}/{hour}x1 false@{}/{hour}x1", hour + 10, hour + 10),
    );
}

#[test]
fn gaps_repetitions_and_clearing_run_on_event_time() {
    let gap = Plan { gap: Some((5, false)), ..hold(2) };
    check(gap, 0, "T100@0 T105@0 T111@0", "fire@102/100x1 gap@110/100x2");
    let repeat = Plan { repeat: Some(5), ..hold(10) };
    check(repeat, 0, "T100@0 T121@0", "fire@110/100x1 fire@115/100x1 fire@120/100x1");
    let clear = Plan { clear_for: 3, keep: 4, ..hold(0) };
    check(clear, 0, "T100@0 F101@0 F109@0", "fire@100/100x1 false@108/100x1");
}

#[test]
fn a_clock_that_jumps_decades_repeats_a_bounded_number_of_times() {
    let mut bench = bench(when(&Plan { repeat: Some(1), ..hold(0) }), 0);
    let now = 50 * 366 * DAY;
    bench.play(&format!("T100@{now} T{now}@{now}"));
    let told = bench.out.episodes.len();
    // The firing, the repetitions of the silence, and the one due with the message that ends it.
    assert_eq!(told, 1 + usize::try_from(EVENT_REPEATS_MAX).unwrap() + 1);
    bench.out.clear();
    bench.play(&format!(".@{} F{}@{}", now + 2, now + 3, now + 3));
    assert_eq!(bench.out.episodes.len(), 4, "then they go on");
}

#[test]
fn a_quiet_key_is_forgotten_after_its_rest() {
    let mut bench = bench(when(&hold(10)), 5);
    let rest = i64::try_from(EVENT_KEY_REST.as_millis()).unwrap();
    bench.play(&format!("F100@0 .@{}", rest + 4));
    bench.commit();
    assert_eq!(bench.disk.len(), 1, "its watermark is kept");
    bench.play("F90@4");
    assert_eq!(counts(&bench).0, 1);
    bench.play(&format!(".@{}", rest + 5));
    bench.commit();
    assert!(bench.disk.is_empty());
    assert_eq!(bench.table.next_deadline(), None);
    bench.play(&format!("T90@{} T100@{}", rest + 6, rest + 6));
    assert_eq!((bench.told().as_str(), counts(&bench).0), ("", 1), "it starts afresh");
}

#[test]
fn a_key_over_the_bound_is_refused_whatever_its_first_message_says() {
    let mut bench = bench(when(&hold(10)), 0);
    bench.keys_max = 2;
    bench.table = HoldTable::new(bench.watched());
    bench.play("F100@0 b:T100@0 c:F100@0 c:T101@0 T101@0");
    assert_eq!(bench.out.faults.len(), 2);
    assert!(bench.out.faults.iter().all(|fault| fault.code == FaultCode::HoldKeysFull));
    assert_eq!(bench.table.counts(RuleIndex(0)).unwrap().pending, 2);
}

#[test]
fn too_many_waiting_messages_are_judged_early() {
    let mut bench = bench(when(&hold(10)), DAY);
    bench.play("T100@0");
    let most = i64::try_from(EVENT_WAITING_PER_KEY_MAX).unwrap();
    for event in 1..most {
        bench.play(&format!("T{}@0", 100 + event));
    }
    assert_eq!((bench.told().as_str(), counts(&bench)), ("", (0, 0, EVENT_WAITING_PER_KEY_MAX)));
    for event in most..most + 12 {
        bench.play(&format!("F{}@0", 100 + event));
    }
    assert_eq!(counts(&bench), (0, 12, EVENT_WAITING_PER_KEY_MAX));
    assert_eq!(bench.out.faults.len(), 12);
    assert_eq!(bench.out.faults[0].code, FaultCode::EventBufferFull);
    assert_eq!(bench.told(), "fire@110/100x10", "the watermark was moved along");
    bench.play("T100@0");
    assert_eq!(counts(&bench).0, 1, "what was judged early makes older ones late");
}

#[test]
fn bytes_of_waiting_messages_are_bounded_too() {
    let mut bench = bench(when(&hold(DAY)), DAY);
    let payload = Bytes::from(vec![b'x'; 1024 * 1024]);
    for event in 0..5 {
        bench.table.observe(
            Observation {
                rule: RuleIndex(0),
                key: CompactString::from("a"),
                condition: Truth::True,
                clear: None,
                at: at(0),
                event_at: Some(at(event)),
                publish: Some(Publish { payload: payload.clone(), ..message("a", event) }),
            },
            &mut bench.out,
        );
    }
    let counts = bench.table.counts(RuleIndex(0)).unwrap();
    assert_eq!((counts.event.early, counts.event.waiting, counts.pending), (2, 3, 1));
}

#[test]
fn each_waiting_message_has_a_row_until_its_turn() {
    let mut bench = bench(when(&hold(10)), 5);
    bench.play("T100@0 T101@0");
    bench.commit();
    assert_eq!((bench.disk.len(), bench.waiting.len()), (1, 2));
    bench.play("T105@1 T103@1");
    bench.commit();
    assert_eq!(bench.waiting.len(), 3, "100 has had its turn");
    bench.play("F120@2 F121@2 F126@2");
    bench.commit();
    // 126 - 5 has come: only that one waits.
    assert_eq!((bench.waiting.len(), bench.disk.len()), (1, 1));
    assert_eq!(bench.told(), "fire@110/100x4 false@120/100x4");
    // One that came and went between two commits had no row and needs none removed.
    let (mut changes, key) = (Vec::new(), RuleIndex(0));
    bench.play("T128@3 T140@3");
    bench.table.take_changes(&mut changes);
    let rows: Vec<bool> = changes[0].waiting.iter().map(|row| row.message.is_some()).collect();
    assert_eq!((rows, bench.table.counts(key).unwrap().event.waiting), (vec![false, true], 1));
}

#[test]
fn what_waits_survives_a_restart_at_every_point() {
    let words = "T100@0 T113@1 F111@2 b:F100@2 b:T99@3 T116@3 c105@4 b:T111@5 F130@6 b:F125@7 .@60";
    let words: Vec<&str> = words.split(' ').collect();
    let plan = Plan { clear_when: false, ..hold(10) };
    let mut whole = bench(when(&plan), 5);
    whole.play(&words.join(" "));
    let whole = whole.told();
    assert!(whole.contains("fire@110/100x1") && whole.contains("b:fire@121/111x1"), "{whole}");
    for point in 0..words.len() {
        let mut bench = bench(when(&plan), 5);
        bench.play(&words[..point].join(" "));
        let now = bench.table.now.as_millis().max(0);
        bench.commit();
        let restored = bench.restart(now, now);
        assert_eq!(restored.rejected, 0);
        bench.play(&words[point..].join(" "));
        assert_eq!(bench.told(), whole, "restarted before {}", words[point]);
        bench.commit();
        assert!(bench.waiting.is_empty());
    }
}

#[test]
fn downtime_is_left_out_of_the_idle_clock_or_counted() {
    check_restart(OnRestart::Pause, 5, "T100@0 down@4..1000 .@1010", "");
    check_restart(OnRestart::Pause, 5, "T100@0 down@4..1000 .@1011", "fire@110/100x1");
    check_restart(OnRestart::Pause, 5, "T100@0 down@4..1000 F109@1000 F120@1000", "");
    check_restart(OnRestart::Count, 5, "T100@0 down@4..8 .@14", "");
    check_restart(OnRestart::Count, 5, "T100@0 down@4..8 .@15", "fire@110/100x1");
    check_restart(OnRestart::Count, 5, "T100@0 down@4..1000", "fire@110/100x1");
    check_restart(OnRestart::Reset, 0, "T100@0 down@4..5 T108@6 .@15", "");
    check_restart(OnRestart::Reset, 0, "T100@0 down@4..5 T108@6 .@16", "fire@118/108x1");
    // The wall clock went back over the restart.
    check_restart(OnRestart::Count, 0, "T100@1000 down@1004..500 .@505", "");
    check_restart(OnRestart::Count, 0, "T100@1000 down@1004..500 .@506", "fire@110/100x1");
}

#[test]
fn a_reload_keeps_the_watermark_and_what_waits_and_applies_new_durations_at_once() {
    let mut bench = bench(when(&hold(100)), 5);
    bench.play("T100@0 T120@1 T124@1");
    bench.rules[0].1 = when(&hold(10));
    reload::reload(&mut bench, 1);
    bench.pass(1);
    assert_eq!(bench.told(), "fire@119/100x1", "the watermark is as early as it can fire");
    assert_eq!(counts(&bench).2, 2);
    bench.play("F124@2 .@99");
    assert_eq!(bench.told(), "false@124/100x3");
}

#[test]
fn a_changed_or_removed_rule_leaves_no_rows_of_waiting_messages() {
    for (restart, removed) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = bench(when(&hold(10)), 5);
        bench.play("T100@0 T115@0 b:F100@0 b:T104@0");
        bench.commit();
        assert_eq!((bench.disk.len(), bench.waiting.len()), (2, 3));
        if removed {
            bench.rules.clear();
        } else {
            bench.rules[0].2 = 8;
        }
        if restart {
            bench.restart(0, 1);
        } else {
            reload::reload(&mut bench, 1);
        }
        let expected =
            if removed { "fire@110/100x1" } else { "fire@110/100x1 rule_changed@1/100x1" };
        assert_eq!((bench.told().as_str(), bench.out.orphans.len()), (expected, 0));
        bench.commit();
        assert!(bench.disk.is_empty() && bench.waiting.is_empty(), "{restart} {removed}");
        bench.pass(99);
        assert_eq!(bench.told(), "");
    }
}

#[test]
fn a_waiting_row_that_cannot_be_read_is_reported_and_removed() {
    let mut bench = bench(when(&hold(10)), 5);
    bench.play("T100@0 T101@0 T102@0 b:T100@0");
    bench.commit();
    for (row, damage) in bench.waiting.values_mut().zip([0, 9]) {
        let mut bytes = row.to_vec();
        bytes[damage] ^= 0x40;
        *row = Bytes::from(bytes);
    }
    bench.disk.remove(&("r".to_owned(), "b".to_owned()));
    let restored = bench.restart(0, 0);
    let errors: Vec<_> = restored.rejected_rows.iter().map(|row| row.error).collect();
    assert_eq!(errors, [RowError::Version(0x43), RowError::Checksum, RowError::Field("key")]);
    bench.pass(99);
    assert_eq!(bench.told(), "fire@112/102x1");
    bench.commit();
    assert!(bench.waiting.is_empty());
}

/// Key, silence before its event time, condition, CLEAR WHEN, delay, whether a restart comes before its
/// arrival, and whether a commit does.
type Sent = (usize, i64, Truth, Truth, i64, bool, bool);

/// The longest delay.
pub(super) const LATENESS: i64 = 12;
/// What the clock of a device is ahead of the next one's.
const SKEW: i64 = 1000;

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let silence = prop_oneof![6 => 0..5_i64, 1 => 0..20_i64];
    let delay = 0..=LATENESS;
    let restart = prop_oneof![8 => Just(false), 1 => Just(true)];
    let (condition, clear) = (properties::truth(), properties::truth());
    prop::collection::vec(
        (0..3_usize, silence, condition, clear, delay, restart, any::<bool>()),
        0..50,
    )
}

/// What arrives, in order: arrival, key, event time, and the rest.
fn arrivals(sent: &[Sent]) -> Vec<(i64, usize, i64, Sent)> {
    let mut clocks = [1, 1 + SKEW, 1 + 2 * SKEW];
    let mut arrivals: Vec<_> = sent
        .iter()
        .map(|message| {
            let (key, silence, .., delay, _, _) = *message;
            clocks[key] += silence;
            let event = clocks[key];
            let arrival = event - SKEW * i64::try_from(key).unwrap() + delay;
            (arrival, key, event, *message)
        })
        .collect();
    arrivals.sort_by_key(|(arrival, ..)| *arrival);
    arrivals
}

proptest! {
    /// Delayed within LATENESS, interrupted by restarts: as the oracle says of the messages in order.
    #[test]
    fn any_shuffle_within_the_lateness_gives_what_the_ordered_input_gives(
        plan in properties::plan(), sent in sent(), downtime in 0..1000_i64,
    ) {
        let arrivals = arrivals(&sent);
        let mut bench = bench(when(&plan), LATENESS);
        let mut down = 0;
        for (arrival, key, event, (_, _, condition, clear, _, restart, commit)) in &arrivals {
            let now = arrival + down;
            bench.pass(now);
            if *commit || *restart {
                bench.commit();
            }
            if *restart {
                bench.restart(now, now + downtime);
                down += downtime;
            }
            let key = properties::KEYS[*key];
            bench.hear_of(0, key, *condition, *clear, arrival + down, Some(*event));
        }
        let last = arrivals.last().map_or(0, |(arrival, ..)| *arrival);
        bench.pass(last + down + 3 * (LATENESS + properties::TAIL));
        prop_assert_eq!(counts(&bench), (0, 0, 0));
        for (place, name) in properties::KEYS.iter().enumerate() {
            let mut heard: Vec<(i64, Heard)> = arrivals
                .iter()
                .filter(|(_, key, ..)| *key == place)
                .map(|(_, _, event, (_, _, condition, clear, ..))| {
                    (*event, Heard { at: *event, condition: *condition, clear: *clear })
                })
                .collect();
            heard.sort_by_key(|(event, _)| *event);
            let end = heard.last().map_or(0, |(event, _)| event + properties::TAIL);
            let heard: Vec<Heard> = heard.into_iter().map(|(_, heard)| heard).collect();
            let mut told = properties::told(&bench.out.episodes, name);
            told.retain(|record| record.0 <= end);
            prop_assert_eq!(told, oracle::expect(&plan, &heard, end));
        }
    }
}
