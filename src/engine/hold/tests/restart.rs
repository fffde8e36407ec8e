//! What outlives a process.

use super::*;
use crate::publish::StreamRecord;

#[test]
fn a_restart_pauses_pending_clocks_and_fires_nothing_twice() {
    check(hold(10), "T@0 down@4..1000 .@1005", "");
    check(hold(10), "T@0 down@4..1000 .@1006", "fire@1006/0x1");
    check(hold(10), "T@0 down@4..1000 down@1002..5000 .@5003", "");
    check(hold(10), "T@0 down@4..1000 down@1002..5000 .@5004", "fire@5004/0x1");
    check(hold(10), "T@0 .@10 down@12..1000 T@1001 F@1002", "fire@10/0x1 false@1002/0x2");
    check(hold(10), "T@0 .@10 down@12..1000 F@1000", "fire@10/0x1 false@1000/0x1");
    check(hold(10), "T@0 down@4..4 F@5 .@99", "");
}

#[test]
fn a_restart_pauses_every_clock_of_a_firing_key() {
    let clear = Plan { clear_for: 5, ..hold(10) };
    check(clear, "T@0 F@20 down@22..100 .@102", "fire@10/0x1");
    check(clear, "T@0 F@20 down@22..100 .@103", "fire@10/0x1 false@103/0x1");
    let keep = Plan { keep: 5, ..hold(10) };
    check(keep, "T@0 F@20 down@22..100 .@103", "fire@10/0x1 false@103/0x1");
    let gap = Plan { gap: Some((5, false)), ..hold(2) };
    check(gap, "T@0 down@3..100 .@102", "fire@2/0x1");
    check(gap, "T@0 down@3..100 .@103", "fire@2/0x1 gap@102/0x1");
    let repeat = Plan { repeat: Some(5), ..hold(10) };
    check(repeat, "T@0 down@12..100 .@104", "fire@10/0x1 fire@103/0x1");
}

#[test]
fn on_restart_count_counts_the_downtime() {
    let count = |plan| When { on_restart: OnRestart::Count, ..when(&plan) };
    check_when(count(hold(10)), "T@0 down@4..8 .@99", "fire@10/0x1");
    check_when(count(hold(10)), "T@0 down@4..50", "fire@10/0x1");
    check_when(
        count(Plan { gap: Some((20, false)), ..hold(10) }),
        "T@0 down@4..50",
        "fire@10/0x1 gap@20/0x1",
    );
    let repeat = Plan { repeat: Some(5), ..hold(10) };
    check_when(count(repeat), "T@0 down@12..100 .@105", "fire@10/0x1 fire@100/0x1 fire@105/0x1");
    check_when(count(repeat), "T@0 down@12..101 .@105", "fire@10/0x1 fire@100/0x1 fire@105/0x1");
}

#[test]
fn on_restart_reset_starts_pending_keys_over() {
    let reset = |plan| When { on_restart: OnRestart::Reset, ..when(&plan) };
    check_when(reset(hold(10)), "T@0 down@4..5 .@99", "");
    check_when(reset(hold(10)), "T@0 down@4..5 T@6 .@99", "fire@16/6x1");
    check_when(reset(hold(10)), "T@0 down@14..15 F@16", "fire@10/0x1 false@16/0x1");
    let mut bench = Bench::new(vec![("r", reset(hold(10)))]);
    bench.play("T@0 down@4..5");
    bench.commit();
    assert!(bench.disk.is_empty(), "the row goes with its key");
}

#[test]
fn many_keys_that_start_over_are_removed_with_one_stroke() {
    let reset = || vec![("r", When { on_restart: OnRestart::Reset, ..when(&hold(10)) })];
    for (many, at_once) in [(1_000, false), (1_001, true)] {
        let mut bench = Bench::new(reset());
        bench.play("firing:T@0 .@10");
        let pending: Vec<String> = (0..many).map(|n| format!("{n}:T@11")).collect();
        bench.play(&pending.join(" "));
        bench.commit();
        assert_eq!(bench.disk.len(), many + 1);
        let restored = bench.restart(12, 20);
        assert_eq!((restored.kept, restored.ended), (1, many));
        assert!(bench.table.has_changes());
        // A key that is heard of before anything is written is written.
        bench.play("7:T@20");
        assert_eq!(bench.commit(), usize::from(at_once), "rules emptied, of {many}");
        let left: Vec<_> = bench.disk.keys().map(|(_, key)| key.as_str()).collect();
        assert_eq!(left, ["7", "firing"]);
        assert!(!bench.table.has_changes());
        let restored = bench.restart(21, 22);
        assert_eq!((restored.kept, restored.ended), (1, 1));
    }
    // A row that cannot be read is left alone, and so all others are removed one by one.
    let mut bench = Bench::new(reset());
    let pending: Vec<String> = (0..2_000).map(|n| format!("{n}:T@11")).collect();
    bench.play(&pending.join(" "));
    bench.commit();
    bench.disk.insert(("r".to_owned(), "wrong".to_owned()), Bytes::from_static(b"?"));
    assert_eq!(bench.restart(12, 20).rejected, 1);
    assert_eq!(bench.commit(), 0);
    assert_eq!(bench.disk.len(), 1);
}

#[test]
fn a_wall_clock_that_went_back_over_a_restart_moves_no_duration() {
    check(hold(10), "T@1000 down@1004..500 .@505", "");
    check(hold(10), "T@1000 down@1004..500 .@506", "fire@506/1000x1");
}

#[test]
fn one_row_a_key_and_batch_and_none_for_a_key_that_came_and_went() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("T@0 T@1 T@2 b:T@3 b:F@4 c:F@5");
    let mut changes = Vec::new();
    bench.table.take_changes(&mut changes);
    let rows: Vec<_> = changes.iter().map(|c| (&*c.rule, &*c.key, c.state.is_some())).collect();
    assert_eq!(rows, [("r", "a", true)]);
    changes.clear();
    bench.table.take_changes(&mut changes);
    assert_eq!(changes, []);
    bench.play("U@6 F@7 T@8 F@9");
    bench.table.take_changes(&mut changes);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].state, None);
}

#[test]
fn a_row_gives_back_the_whole_message() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    let properties = PublishProperties {
        payload_format: Some(1),
        message_expiry: Some(60),
        content_type: Some("application/json".to_owned()),
        response_topic: Some("back".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 255])),
        user_properties: vec![("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())],
    };
    let origin = Origin {
        client_id: Some(Arc::from("dév")),
        principal: Some(Arc::from("cn")),
        source_ip: Some("::1".parse().unwrap()),
        record: Some(StreamRecord {
            shard_id: Arc::from("shardId-000000000003"),
            sequence_number: "49590338271490256608559692538361571095921575989136588898".into(),
            partition_key: "clé".into(),
            arrived_at: Timestamp::from_millis(12),
        }),
    };
    let publish = Publish {
        topic: TopicName::parse("lab/7").unwrap(),
        payload: Bytes::from_static(&[0xff, 0, b'{']),
        qos: QoS::ExactlyOnce,
        retain: true,
        received_at: at(3),
        origin: Arc::new(origin),
        properties: Some(Arc::new(properties)),
        hops: 2,
    };
    bench.table.observe(
        Observation {
            rule: RuleIndex(0),
            key: CompactString::from("[\"lab/7\"]"),
            condition: Truth::True,
            clear: None,
            at: at(3),
            event_at: None,
            publish: Some(publish.clone()),
        },
        &mut bench.out,
    );
    bench.commit();
    bench.restart(3, 3);
    bench.pass(99);
    assert_eq!(bench.out.episodes[0].publish, publish);
}

#[test]
fn a_row_that_cannot_be_read_is_reported_and_skipped() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("T@0 b:T@0 c:T@0 d:T@0");
    bench.commit();
    let row = |key: &str| ("r".to_owned(), key.to_owned());
    let whole = bench.disk[&row("a")].clone();
    let mut newer = whole.to_vec();
    newer[0] = 99;
    let mut flipped = whole.to_vec();
    flipped[20] ^= 4;
    bench.disk.insert(row("b"), Bytes::from(newer));
    bench.disk.insert(row("c"), Bytes::from(flipped));
    bench.disk.insert(row("d"), Bytes::new());
    let restored = bench.restart(0, 0);
    assert_eq!((restored.kept, restored.rejected), (1, 3));
    let errors: Vec<_> = restored.rejected_rows.iter().map(|row| row.error).collect();
    assert_eq!(errors, [RowError::Version(99), RowError::Checksum, RowError::Length]);
    bench.pass(99);
    assert_eq!(bench.told(), "fire@10/0x1");
}

#[test]
fn no_cut_of_a_row_panics_or_is_taken_for_a_row() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("T@0");
    bench.commit();
    let whole = bench.disk.values().next().unwrap();
    for length in 0..whole.len() {
        assert!(crate::engine::hold::encoding::decode(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_clocks_leave_out_is_one_row_however_many_keys_there_are() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    let rows = |bench: &mut Bench| {
        let mut changes = Vec::new();
        bench.table.take_changes(&mut changes);
        changes.len()
    };
    bench.play("a:T@0 b:T@0 c:T@1");
    bench.commit();
    bench.restart(4, 1000);
    assert!(bench.table.has_changes());
    assert_eq!(rows(&mut bench), 1);
    bench.play("leap@1001..5000");
    assert_eq!(rows(&mut bench), 1);
    bench.restart(5000, 5000);
    assert!(!bench.table.has_changes(), "no time was left out");
}

#[test]
fn rows_of_every_age_leave_out_what_came_since_they_were_written() {
    // `a` is written before two outages and a step, `b` between them, `c` after them.
    let timeline =
        "a:T@0 down@4..100 b:T@101 leap@102..1000 down@1001..2000 c:T@2001 down@2002..3000 .@3020";
    check(hold(10), timeline, "fire@3001/0x1 b:fire@3006/101x1 c:fire@3009/2001x1");
    let count = |plan| When { on_restart: OnRestart::Count, ..when(&plan) };
    check_when(
        count(hold(2000)),
        "a:T@0 down@4..100 leap@102..1000 b:T@1001 down@1002..1100 .@3200",
        "fire@2898/0x1 b:fire@3001/1001x1",
    );
    // A second crash before anything was committed counts the time since the last sign of life once.
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("T@0 .@4");
    bench.commit();
    bench.restart(4, 100);
    bench.restart(4, 200);
    bench.play(".@205");
    assert_eq!(bench.told(), "");
    bench.play(".@206");
    assert_eq!(bench.told(), "fire@206/0x1");
}

#[test]
fn a_damaged_row_of_what_was_left_out_costs_no_more_than_that() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("a:T@0 down@4..100 b:T@101");
    bench.commit();
    bench.left_out = Some(Bytes::from_static(b"\x06nothing"));
    let restored = bench.restart(102, 200);
    assert_eq!((restored.kept, restored.rejected), (2, 1));
    bench.commit();
    bench.restart(200, 300);
    bench.pass(1000);
    // What `a` left out before is lost with the row; what comes after it is left out by both.
    assert_eq!(bench.told(), "fire@300/0x1 b:fire@309/101x1");
}

#[test]
fn another_on_restart_does_not_count_what_was_left_out_before_it() {
    let mut bench = Bench::new(vec![("r", when(&hold(10)))]);
    bench.play("T@0 down@4..100");
    bench.rules[0].1.on_restart = OnRestart::Count;
    reload::reload(&mut bench, 101);
    bench.commit();
    bench.restart(101, 101);
    bench.play(".@105");
    assert_eq!(bench.told(), "");
    bench.play(".@106");
    assert_eq!(bench.told(), "fire@106/0x1");
}
