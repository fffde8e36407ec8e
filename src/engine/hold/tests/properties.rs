//! The table against the oracle.

use super::*;

pub(super) fn truth() -> impl Strategy<Value = Truth> {
    prop_oneof![4 => Just(Truth::True), 2 => Just(Truth::False), 1 => Just(Truth::Unknown)]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let gap = prop::option::of((1..9_i64, any::<bool>()));
    let repeat = prop::option::of(1..7_i64);
    let short = |most: i64| prop_oneof![1 => Just(0), 1 => 0..most];
    let at_least = prop::option::of((1..5_u32, 1..12_i64));
    (0..9_i64, short(6), short(6), gap, repeat, any::<bool>(), at_least).prop_map(
        |(hold_for, clear_for, keep, gap, repeat, clear_when, at_least)| Plan {
            hold_for,
            clear_for,
            keep,
            gap,
            repeat,
            clear_when,
            at_least,
        },
    )
}

/// Silence before it, key, condition, CLEAR WHEN, and whether a commit and a restart come before it.
type Beat = (i64, usize, Truth, Truth, bool, bool);

fn beat() -> impl Strategy<Value = Beat> {
    let silence = prop_oneof![6 => 0..4_i64, 1 => 0..20_i64];
    let restart = prop_oneof![9 => Just(false), 1 => Just(true)];
    (silence, 0..3_usize, truth(), truth(), any::<bool>(), restart)
}

fn beats() -> impl Strategy<Value = Vec<Beat>> {
    prop::collection::vec(beat(), 0..50)
}

pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];
/// Time after the last message in which all clocks run out.
pub(super) const TAIL: i64 = 40;

/// Plays the beats; downtime is added at each restart. Records by key.
fn play(plan: &Plan, beats: &[Beat], downtime: i64) -> [Vec<Told>; 3] {
    let mut bench = Bench::new(vec![("r", when(plan))]);
    let mut now = 0;
    for (silence, key, condition, clear, commit, restart) in beats {
        now += silence;
        // As the writer does: from deadline to deadline.
        while let Some(due) = bench.table.next_deadline().filter(|due| *due <= at(now)) {
            let said = bench.out.episodes.len();
            assert_eq!(bench.table.advance(due, &mut bench.out), Progress::Done);
            let late = |episode: &&Episode| episode.at + millis(1) < due;
            assert!(bench.out.episodes[said..].iter().find(late).is_none(), "woken too late");
        }
        if *commit || *restart {
            bench.commit();
        }
        if *restart {
            bench.pass(now);
            bench.commit();
            bench.restart(now, now + downtime);
            now += downtime;
        }
        bench.hear(0, KEYS[*key], *condition, *clear, now);
    }
    bench.pass(now + TAIL);
    assert!(bench.out.episodes.is_sorted_by_key(|episode| episode.at));
    KEYS.map(|key| told(&bench.out.episodes, key))
}

/// The records of one key, as the oracle writes them.
pub(super) fn told(episodes: &[Episode], key: &str) -> Vec<Told> {
    let of_key = episodes.iter().filter(|episode| &*episode.facts.key == key);
    of_key
        .map(|episode| {
            let facts = &episode.facts;
            let spoken = episode.publish.received_at.as_millis();
            let since = facts.since.as_millis();
            (episode.at.as_millis(), event(episode), since, facts.samples, spoken)
        })
        .collect()
}

proptest! {
    #[test]
    fn the_table_says_what_the_oracle_says(plan in plan(), beats in beats()) {
        let told = play(&plan, &beats, 0);
        let end = beats.iter().map(|beat| beat.0).sum::<i64>() + TAIL;
        for (place, told) in told.iter().enumerate() {
            let mut now = 0;
            let mut heard = Vec::new();
            for (silence, key, condition, clear, ..) in &beats {
                now += silence;
                if *key == place {
                    heard.push(Heard { at: now, condition: *condition, clear: *clear });
                }
            }
            prop_assert_eq!(told, &oracle::expect(&plan, &heard, end));
        }
    }

    /// A restart that takes no time changes nothing, wherever it comes.
    #[test]
    fn a_restart_at_every_point_changes_nothing(
        plan in plan(), beats in prop::collection::vec(beat(), 0..16),
    ) {
        let without: Vec<Beat> =
            beats.iter().map(|(a, b, c, d, e, _)| (*a, *b, *c, *d, *e, false)).collect();
        let expected = play(&plan, &without, 0);
        for point in 0..beats.len() {
            let mut with = without.clone();
            with[point].5 = true;
            prop_assert_eq!(&play(&plan, &with, 0), &expected);
        }
    }

    /// PAUSE: an outage leaves a hole in the times and changes nothing else.
    #[test]
    fn downtime_is_left_out(plan in plan(), beats in beats(), downtime in 1..1000_i64) {
        let without = play(&plan, &beats, 0);
        let with = play(&plan, &beats, downtime);
        // Where the restarts are on the timeline without downtime.
        let mut now = 0;
        let mut restarts = Vec::new();
        for (silence, .., restart) in &beats {
            now += silence;
            restarts.extend(restart.then_some(now));
        }
        for (without, with) in without.iter().zip(&with) {
            prop_assert_eq!(without.len(), with.len());
            for (a, b) in without.iter().zip(with) {
                prop_assert_eq!((a.1, a.3), (b.1, b.3));
                let before = restarts.iter().filter(|restart| **restart < a.0).count();
                let up_to = restarts.iter().filter(|restart| **restart <= a.0).count();
                let (before, up_to) = (i64::try_from(before).unwrap(), i64::try_from(up_to).unwrap());
                let moved = b.0 - a.0;
                prop_assert!(
                    (before * downtime..=up_to * downtime).contains(&moved),
                    "{a:?} became {b:?}"
                );
            }
        }
    }
}
