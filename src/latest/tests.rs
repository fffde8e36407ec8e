use std::sync::Arc;

use super::*;
use crate::engine::LatestValues;
use crate::journal::Effect;
use crate::journal::effect_stage::EffectJournal;

fn put(table: &str, key: &str, value: &str, at: i64) -> Effect {
    Effect::Upsert(Box::new(Upsert {
        table: Arc::from(table),
        key: CompactString::new(key),
        value: Bytes::copy_from_slice(value.as_bytes()),
        at: Timestamp::from_millis(at),
        rule: Arc::from("r"),
        publish: None,
    }))
}

fn forget(table: &str, key: &str) -> Effect {
    Effect::Forget { table: Arc::from(table), key: CompactString::new(key) }
}

fn shown(entries: &[Entry]) -> Vec<String> {
    let show = |entry: &Entry| {
        let value = String::from_utf8_lossy(&entry.value);
        format!("{}={value}@{}", entry.key, entry.at.as_millis())
    };
    entries.iter().map(show).collect()
}

#[tokio::test]
async fn the_value_committed_last_stays_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    journal.commit(vec![put("t", "b", "1", 5), put("t", "a", "x", 6), put("u", "a", "y", 1)]).await;
    // An earlier time, committed later.
    journal.commit(vec![put("t", "b", "22", 4)]).await;
    journal.close().await;

    let journal = EffectJournal::open(folder.path());
    let reader = Reader::new(journal.storage.reader().unwrap());
    assert_eq!(shown(&reader.page("t", None, 10, 100).unwrap()), ["a=x@6", "b=22@4"]);
    assert_eq!(shown(&reader.page("t", Some("a"), 10, 100).unwrap()), ["b=22@4"]);
    assert_eq!(shown(&reader.page("t", None, 1, 100).unwrap()), ["a=x@6"]);
    assert_eq!(shown(&reader.page("t", None, 10, 0).unwrap()), ["a=x@6"], "one at least");
    assert_eq!(shown(&[reader.get("u", "a").unwrap()]), ["a=y@1"]);
    let tables = reader.tables().unwrap();
    let summary = |t: &TableSummary| (t.name.clone(), t.keys, t.bytes, t.newest_at.as_millis());
    assert_eq!(
        tables.iter().map(summary).collect::<Vec<_>>(),
        [("t".to_owned(), 2, 5, 6), ("u".to_owned(), 1, 2, 1)]
    );
    assert!(matches!(reader.get("t", "c"), Err(LatestError::UnknownKey { .. })));
    assert!(matches!(reader.page("none", None, 1, 1), Err(LatestError::Unknown(_))));

    let mut keys = load(&journal.storage, Bounds { keys_max: 2, bytes_max: 5 }).unwrap().keys;
    let (t, u): (Arc<str>, Arc<str>) = (Arc::from("t"), Arc::from("u"));
    assert_eq!(keys.admit(&t, &"a".into(), 1), Ok(()), "what is on disk is known");
    assert_eq!(keys.admit(&t, &"c".into(), 1), Err(Full::Keys), "and counts");
    assert_eq!(keys.admit(&t, &"a".into(), 2), Err(Full::Bytes), "to the byte");
    assert_eq!(keys.admit(&u, &"c".into(), 1), Ok(()));

    let mirror = Mirror::default();
    let disk = journal.storage.reader().unwrap();
    let view = mirror.view([Arc::clone(&t)], Some(&disk)).unwrap();
    assert_eq!(view.get("t", "b").as_deref(), Some(&b"22"[..]));
    assert_eq!(view.get("u", "a"), None, "nobody asked for it");
    journal.close().await;
}

#[tokio::test]
async fn a_forgotten_key_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    journal.commit(vec![put("t", "a", "1", 1), put("t", "b", "2", 2)]).await;
    journal.commit(vec![forget("t", "a"), forget("t", "none")]).await;
    let reader = Reader::new(journal.storage.reader().unwrap());
    assert_eq!(shown(&reader.page("t", None, 10, 100).unwrap()), ["b=2@2"]);
    journal.commit(vec![forget("t", "b")]).await;
    assert!(reader.tables().unwrap().is_empty());
    journal.close().await;
}

#[test]
fn keys_are_bounded_in_each_table_and_make_room_when_they_go() {
    let mut keys = Keys::new(Bounds { keys_max: 2, bytes_max: 100 });
    let (t, u): (Arc<str>, Arc<str>) = (Arc::from("t"), Arc::from("u"));
    let full = Err(Full::Keys);
    for (table, key, admitted) in [
        (&t, "a", Ok(())),
        (&t, "b", Ok(())),
        (&t, "c", full),
        (&t, "a", Ok(())),
        (&u, "c", Ok(())),
    ] {
        assert_eq!(keys.admit(table, &key.into(), 1), admitted, "{table} {key}");
    }
    assert!(!keys.remove("t", "c"));
    assert!(keys.remove("t", "a") && !keys.remove("t", "a"));
    assert_eq!(keys.admit(&t, &"c".into(), 1), Ok(()));
    assert_eq!(keys.admit(&t, &"a".into(), 1), full);
}

#[test]
fn bytes_are_bounded_in_each_table_and_a_value_may_shrink() {
    let mut keys = Keys::new(Bounds { keys_max: 9, bytes_max: 10 });
    let t: Arc<str> = Arc::from("t");
    let full = Err(Full::Bytes);
    for (key, size, admitted) in [
        ("a", 4, Ok(())),
        ("b", 5, full),
        ("b", 4, Ok(())),
        ("a", 5, full),
        ("b", 3, Ok(())),
        ("a", 5, Ok(())),
    ] {
        assert_eq!(keys.admit(&t, &key.into(), size), admitted, "{key} of {size}");
    }
    assert!(keys.remove("t", "a"));
    assert_eq!(keys.admit(&t, &"c".into(), 5), Ok(()), "its six bytes are free again");
    keys.note("t", "found", 50);
    assert_eq!(keys.admit(&t, &"found".into(), 40), Ok(()), "over the bound, but less than before");
    assert_eq!(keys.admit(&t, &"found".into(), 41), full);
}
