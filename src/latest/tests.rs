use std::sync::Arc;

use super::*;
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

    let mut keys = load(&journal.storage, 2).unwrap();
    assert!(keys.admit(&Arc::from("t"), &"a".into()), "what is on disk is known");
    assert!(!keys.admit(&Arc::from("t"), &"c".into()), "and counts");
    assert!(keys.admit(&Arc::from("u"), &"c".into()));
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
    let mut keys = Keys::new(2);
    let (t, u): (Arc<str>, Arc<str>) = (Arc::from("t"), Arc::from("u"));
    for (table, key, admitted) in
        [(&t, "a", true), (&t, "b", true), (&t, "c", false), (&t, "a", true), (&u, "c", true)]
    {
        assert_eq!(keys.admit(table, &key.into()), admitted, "{table} {key}");
    }
    assert!(!keys.remove("t", "c"));
    assert!(keys.remove("t", "a") && !keys.remove("t", "a"));
    assert!(keys.admit(&t, &"c".into()));
    assert!(!keys.admit(&t, &"a".into()));
}
