//! Consumers as they come and go, on SQLite.

use std::path::Path;

use rusqlite::Connection;

use crate::limits;
use crate::storage::Storage;
use crate::stream::Ending;
use crate::stream::NewStream;
use crate::stream::lineage;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_500);

fn stream(connection: &mut Connection, name: &str) {
    let new = NewStream {
        name: name.to_owned(),
        shards: 1,
        is_limited: true,
        record_bytes_max: limits::RECORD_BYTES_MAX,
        tags: Vec::new(),
    };
    let transaction = connection.transaction().unwrap();
    lineage::create_now(&transaction, &new, NOW).unwrap().unwrap();
    transaction.commit().unwrap();
}

fn register(connection: &mut Connection, stream: &str, name: &str) -> Result<Registered, Refused> {
    let transaction = connection.transaction().unwrap();
    let tags = [Tag { key: "k".to_owned(), value: name.to_owned() }];
    let registered = table::register(&transaction, stream, name, &tags, NOW).unwrap();
    transaction.commit().unwrap();
    registered
}

fn named(consumer: &str, created_secs: Option<i64>) -> ConsumerName {
    ConsumerName { stream: "s".to_owned(), consumer: consumer.to_owned(), created_secs }
}

fn reader(folder: &Path) -> Reader {
    Reader::new(Storage::peek(folder).unwrap())
}

#[test]
fn consumers_are_found_by_name_and_time_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (mut writer, _jobs) = storage.take_writer().unwrap();
    assert_eq!(register(&mut writer, "s", "c").unwrap_err(), Refused::Unknown);
    stream(&mut writer, "s");
    stream(&mut writer, "t");
    let most = usize::try_from(limits::STREAM_CONSUMERS_MAX).unwrap();
    for n in 0..most {
        let registered = register(&mut writer, "s", &format!("c{n:02}")).unwrap();
        assert_eq!(registered.created_secs(), 1_700_000_000);
    }
    let again = register(&mut writer, "s", "c03").unwrap_err();
    assert_eq!(again, Refused::Registered("c03".to_owned()));
    assert_eq!(register(&mut writer, "s", "more").unwrap_err(), Refused::Consumers);
    register(&mut writer, "t", "c03").unwrap();

    let reader = reader(folder.path());
    let described = reader.describe("s").unwrap().unwrap();
    assert_eq!(reader.registered_count(&described).unwrap(), limits::STREAM_CONSUMERS_MAX);
    let page = reader.registered_after(&described, Some("c03"), 2).unwrap();
    assert_eq!(page.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["c04", "c05"]);
    let found = reader.registered(&described, "c03").unwrap().unwrap();
    assert_eq!(reader.registered_tags(&found).unwrap()[0].value, "c03");

    let transaction = writer.transaction().unwrap();
    let end = |name| table::deregister(&transaction, &name).unwrap();
    assert_eq!(end(named("c03", Some(5))), Err(Refused::NoConsumer("c03".to_owned())));
    assert_eq!(end(named("c03", Some(1_700_000_000))), Ok(()));
    assert_eq!(end(named("c03", None)), Err(Refused::NoConsumer("c03".to_owned())));
    let new = [Tag { key: "new".to_owned(), value: String::new() }];
    assert_eq!(table::tag(&transaction, &named("c04", None), &new).unwrap(), Ok(()));
    let old = ["k".to_owned()];
    assert_eq!(table::untag(&transaction, &named("c04", None), &old).unwrap(), Ok(()));
    transaction.commit().unwrap();
    let found = reader.registered(&described, "c04").unwrap().unwrap();
    assert_eq!(reader.registered_tags(&found).unwrap(), new);
}

#[test]
fn a_stream_with_consumers_is_deleted_only_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (mut writer, _jobs) = storage.take_writer().unwrap();
    stream(&mut writer, "s");
    register(&mut writer, "s", "c").unwrap();
    let transaction = writer.transaction().unwrap();
    let delete = |ending| lineage::delete_now(&transaction, "s", ending).unwrap();
    assert_eq!(delete(Ending::Unread), Err(Refused::Consumed(1)));
    assert_eq!(delete(Ending::WithConsumers), Ok(()));
    transaction.commit().unwrap();
    let left: i64 = writer
        .query_row(
            "SELECT (SELECT count(*) FROM stream_registered)
                + (SELECT count(*) FROM stream_registered_tag)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
    // The name is free for another, which has none.
    assert!(reader(folder.path()).describe("s").unwrap().is_some_and(|stream| stream.is_deleting));
}
