use super::*;

#[track_caller]
fn message(folder: &Path) -> String {
    Storage::open(folder).unwrap_err().to_string()
}

fn database(folder: &Path) -> Connection {
    Connection::open(folder.join(FILE_NAME)).unwrap()
}

#[test]
fn a_folder_is_made_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    for _ in 0..2 {
        let storage = Storage::open(&path).unwrap();
        let reader = storage.reader().unwrap();
        let version: i64 =
            reader.sqlite().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, migrations::VERSION);
        assert!(reader.sqlite().execute("DELETE FROM stream", []).is_err(), "readers only read");
    }
    Storage::peek(&path).unwrap();
}

#[test]
fn a_second_process_is_told_who_has_it_and_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let pid = std::process::id();
    assert!(message(folder.path()).ends_with(&format!("is in use by process {pid}")));
    storage.announce("127.0.0.1:8080".parse().unwrap()).unwrap();
    let expected = format!("is in use by process {pid} (http://127.0.0.1:8080)");
    assert!(message(folder.path()).ends_with(&expected));
    let Err(StorageError::InUse { holder: Some(holder), .. }) = Storage::open(folder.path()) else {
        panic!("the holder is told");
    };
    assert_eq!(holder.http, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(Storage::holder(folder.path()).unwrap(), Some(holder));
    Storage::peek(folder.path()).unwrap();
    drop(storage);
    assert_eq!(Storage::holder(folder.path()).unwrap(), None, "the file stays and is not believed");
    Storage::open(folder.path()).unwrap();
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    drop(Storage::open(folder.path()).unwrap());
    database(folder.path()).pragma_update(None, "user_version", migrations::VERSION + 1).unwrap();
    let (newer, known) = (migrations::VERSION + 1, migrations::VERSION);
    let expected =
        format!("has schema version {newer}, and this tidegate knows versions up to {known}");
    for text in [message(folder.path()), Storage::peek(folder.path()).unwrap_err().to_string()] {
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn an_older_schema_is_not_changed_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    drop(Storage::open(folder.path()).unwrap());
    database(folder.path()).pragma_update(None, "user_version", 0).unwrap();
    let text = Storage::peek(folder.path()).unwrap_err().to_string();
    assert!(text.contains("older schema version 0"), "{text}");
}

#[test]
fn files_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path()).execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(message(folder.path()).ends_with("is not a database of tidegate"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), "no database".repeat(1000)).unwrap();
    assert!(message(folder.path()).ends_with("is damaged"));
    let file = folder.path().join(FILE_NAME);
    assert!(message(&file).ends_with("is not a folder"));
}

#[test]
fn looking_needs_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let text = Storage::peek(folder.path()).unwrap_err().to_string();
    assert!(text.starts_with("there is no database in "), "{text}");
    assert!(!folder.path().join(FILE_NAME).exists());
}

/// `/sys` lets nobody make folders or files, root included.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_called_so() {
    assert!(message(Path::new("/sys")).ends_with("is read-only"));
    assert!(message(Path::new("/sys/tidegate")).ends_with("is read-only"));
}

#[test]
fn a_crash_before_the_first_commit_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), "").unwrap();
    Storage::open(folder.path()).unwrap();
}
