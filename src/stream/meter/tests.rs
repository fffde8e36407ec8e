use super::*;

fn meter(full: WhenFull) -> Meter {
    let own = StreamConfig { size_max: Some(100), ..StreamConfig::default() };
    let free = StreamConfig::default();
    let streams = [("own".to_owned(), own), ("free".to_owned(), free)].into();
    Meter::new(&RoomConfig { size_max: None, full }, &streams)
}

#[test]
fn a_stream_has_its_own_room_or_that_of_all() {
    let defaults = RoomConfig { size_max: Some(50), full: WhenFull::DropOldest };
    let own = StreamConfig { full: Some(WhenFull::Refuse), ..StreamConfig::default() };
    let meter = Meter::new(&defaults, &[("own".to_owned(), own)].into());
    let room = |bytes_max, when_full| Some(Room { bytes_max, when_full });
    assert_eq!(meter.room("own"), room(50, WhenFull::Refuse));
    assert_eq!(meter.room("other"), room(50, WhenFull::DropOldest));
    assert_eq!(Meter::default().room("other"), None);
}

#[test]
fn what_has_no_room_is_refused_and_counted() {
    let meter = meter(WhenFull::Refuse);
    let stream = "own";
    meter.set_held(&meter.stream(stream), 90);
    assert_eq!(meter.admit(stream, 10), Ok(()));
    assert_eq!(meter.admit(stream, 11), Err(NotAdmitted::NoRoom(NoRoom { bytes_max: 100 })));
    assert_eq!(meter.stream(stream).refused(), Amount { records: 1, bytes: 11 });
    assert_eq!(meter.admit("free", usize::MAX), Ok(()));
    assert!(!meter.stream(stream).is_over());
}

#[test]
fn a_stream_without_its_key_takes_nothing_until_it_has_another() {
    let meter = Meter::default();
    meter.lock("sealed", "alias/gone");
    let no_key = Err(NotAdmitted::NoKey("alias/gone".into()));
    assert_eq!(meter.admit("sealed", 1), no_key);
    assert_eq!(meter.admit("other", 1), Ok(()));
    assert_eq!(meter.stream("sealed").locked(), 1);
    meter.unlock("sealed");
    assert_eq!(meter.admit("sealed", 1), Ok(()));
}

#[test]
fn a_stream_that_drops_refuses_nothing() {
    let meter = meter(WhenFull::DropOldest);
    let stream = "own";
    meter.set_held(&meter.stream(stream), 100);
    assert!(!meter.stream(stream).is_over());
    meter.set_held(&meter.stream(stream), 101);
    assert!(meter.stream(stream).is_over());
    assert_eq!(meter.admit(stream, 1000), Ok(()));
    assert_eq!(meter.stream(stream).refused(), Amount::default());
}

#[test]
fn the_age_of_readers_is_the_longest_of_late() {
    let shard = ShardMeter::default();
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let behind = |seconds| Duration::from_secs(seconds);
    assert_eq!(shard.iterator_age(at(60)), None);
    shard.give(Amount { records: 2, bytes: 9 }, behind(7), at(61));
    shard.give(Amount::default(), behind(0), at(62));
    assert_eq!(shard.iterator_age(at(119)), Some(behind(7)));
    shard.give(Amount::default(), behind(3), at(120));
    assert_eq!(shard.iterator_age(at(179)), Some(behind(7)));
    assert_eq!(shard.iterator_age(at(180)), Some(behind(3)));
    assert_eq!(shard.iterator_age(at(240)), None);
    assert_eq!(shard.given(), Amount { records: 2, bytes: 9 });
}

#[test]
fn no_number_of_streams_and_shards_grows_it_for_ever() {
    let meter = meter(WhenFull::Refuse);
    meter.stream("own");
    for n in 0..2 * limits::STREAMS_METERED_MAX {
        meter.stream(&format!("s{n}"));
    }
    assert!(meter.met().len() <= limits::STREAMS_METERED_MAX);
    assert!(meter.met().iter().any(|(name, _)| &**name == "own"), "one with a room stays");
    let defaults = RoomConfig { size_max: Some(50), full: WhenFull::Refuse };
    let all = Meter::new(&defaults, &BTreeMap::new());
    for n in 0..2 * limits::STREAMS_METERED_MAX {
        assert_eq!(all.admit(&format!("unknown{n}"), 1000), Ok(()));
        all.stream(&format!("s{n}"));
    }
    assert!(all.met().len() <= limits::STREAMS_METERED_MAX);
    assert!(!all.met().iter().any(|(name, _)| name.starts_with("unknown")));
    let stream = meter.stream("own");
    for n in 0..2 * u32::try_from(limits::SHARDS_METERED_MAX).unwrap() {
        stream.shard(ShardId(n));
    }
    assert!(stream.shards.read().len() <= limits::SHARDS_METERED_MAX);
}
