//! NO DATA: every message is a `T`.

use super::*;

fn absence(hold_for: i64) -> When {
    When { condition: Condition::NoData, ..when(&hold(hold_for)) }
}

#[track_caller]
fn check(hold_for: i64, timeline: &str, expected: &str) {
    check_when(absence(hold_for), timeline, expected);
}

#[test]
fn silence_after_the_last_message_fires_and_the_next_message_clears() {
    check(10, ".@99", "");
    check(10, "T@0 .@9", "");
    check(10, "T@0 .@10", "fire@10/0x1");
    check(10, "T@0 T@9 .@18", "");
    check(10, "T@0 T@9 .@99", "fire@19/9x2");
    check(10, "T@0 T@50 .@60", "fire@10/0x1 data@50/0x1 fire@60/50x1");
    check(10, "T@0 T@10 .@19", "fire@10/0x1 data@10/0x1");
}

#[test]
fn the_records_of_a_silence_speak_of_the_message_before_it() {
    let mut bench = Bench::new(vec![("r", absence(10))]);
    bench.play("T@0 T@5 T@40");
    let spoken: Vec<_> = bench.out.episodes.iter().map(|e| e.publish.payload.clone()).collect();
    assert_eq!(spoken, ["a 5", "a 5"]);
}

#[test]
fn each_key_is_silent_by_itself_and_repeats() {
    check(10, "T@0 b:T@5 T@9 .@17", "b:fire@15/5x1");
    let repeated = When { repeat_every: Some(millis(4)), ..absence(10) };
    check_when(repeated, "T@0 T@18 .@19", "fire@10/0x1 fire@14/0x1 fire@18/0x1 data@18/0x1");
}

#[test]
fn downtime_is_no_silence_unless_it_counts() {
    check(10, "T@0 down@4..100 .@105", "");
    check(10, "T@0 down@4..100 .@106", "fire@106/0x1");
    check(10, "T@0 down@4..100 T@101 .@110", "");
    check(10, "T@0 .@10 down@12..100 T@101 .@110", "fire@10/0x1 data@101/0x1");
    let with = |on_restart| When { on_restart, ..absence(10) };
    check_when(with(OnRestart::Count), "T@0 down@4..100", "fire@10/0x1");
    check_when(with(OnRestart::Reset), "T@0 down@4..100 .@999", "");
}

#[test]
fn in_event_time_silence_is_measured_between_the_times_of_messages() {
    let mut bench = event_time::bench(absence(10), 5);
    bench.play("T100@0 T112@0 T109@0 T120@0 T140@0");
    assert_eq!(bench.told(), "fire@130/120x4");
    bench.play("T131@0 .@4");
    assert_eq!(bench.told(), "", "late: what fired is not taken back");
    bench.play(".@5");
    assert_eq!(bench.told(), "data@140/120x4");
    bench.play(".@15");
    assert_eq!(bench.told(), "fire@150/140x1");
}

proptest! {
    /// Two neighbours further apart than the duration are a silence; nothing else is.
    #[test]
    fn silences_are_what_lies_between_neighbours(
        hold_for in 1..9_i64,
        gaps in prop::collection::vec((0..14_i64, any::<bool>()), 1..40),
        downtime in 0..100_i64,
    ) {
        let mut bench = Bench::new(vec![("r", absence(hold_for))]);
        let mut plain = Bench::new(vec![("r", absence(hold_for))]);
        let (mut now, mut down, mut expected) = (0, 0, Vec::new());
        let mut last: Option<i64> = None;
        for (gap, restart) in &gaps {
            now += gap;
            if let Some(last) = last.filter(|last| last + hold_for <= now) {
                expected.push(("fire", last + hold_for, last));
                expected.push(("data", now, last));
            }
            last = Some(now);
            plain.hear(0, "a", Truth::True, Truth::False, now);
            if *restart {
                bench.pass(now + down);
                bench.commit();
                bench.restart(now + down, now + down + downtime);
                down += downtime;
            }
            bench.hear(0, "a", Truth::True, Truth::False, now + down);
        }
        let told: Vec<_> = plain
            .out
            .episodes
            .iter()
            .map(|e| (event(e), e.at.as_millis(), e.facts.since.as_millis()))
            .collect();
        prop_assert_eq!(told, expected);
        // With PAUSE, downtime changes neither how many there are nor what they are.
        let kinds = |bench: &Bench| bench.out.episodes.iter().map(event).collect::<Vec<_>>();
        prop_assert_eq!(kinds(&bench), kinds(&plain));
    }
    /// In event time: whatever the order of arrival within LATENESS, and behind whichever message a
    /// restart comes.
    #[test]
    fn no_order_of_arrival_and_no_restart_changes_a_silence(
        hold_for in 1..9_i64,
        sent in prop::collection::vec((0..14_i64, 0..=event_time::LATENESS), 1..12),
        downtime in 0..100_i64,
    ) {
        let mut event = 100;
        let mut arrivals: Vec<(i64, i64)> = Vec::new();
        let mut expected = Vec::new();
        for (gap, delay) in &sent {
            let last = (!arrivals.is_empty()).then_some(event);
            event += gap;
            arrivals.push((event + delay, event));
            if let Some(last) = last.filter(|last| last + hold_for <= event) {
                expected.push(("fire", last + hold_for, last));
                expected.push(("data", event, last));
            }
        }
        expected.push(("fire", event + hold_for, event));
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        for point in 0..=arrivals.len() {
            let mut bench = event_time::bench(absence(hold_for), event_time::LATENESS);
            let mut down = 0;
            for (place, (arrival, event)) in arrivals.iter().enumerate() {
                let now = arrival + down;
                bench.pass(now);
                bench.hear_of(0, "a", Truth::True, Truth::False, now, Some(*event));
                if place == point {
                    bench.commit();
                    bench.restart(now, now + downtime);
                    down += downtime;
                }
            }
            bench.pass(event + down + 3 * event_time::LATENESS + hold_for);
            let told: Vec<_> = bench
                .out
                .episodes
                .iter()
                .map(|e| (self::event(e), e.at.as_millis(), e.facts.since.as_millis()))
                .collect();
            prop_assert_eq!(&told, &expected);
        }
    }
}
