//! Tables of leases on SQLite, and against a model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::storage::Storage;

use super::expression::Comparison;
use super::expression::Operand;
use super::parse::Placeholders;
use super::value::parse_item;
use super::value::to_json;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct World {
    _folder: TempDir,
    storage: Storage,
    writer: Connection,
}

fn item(json: serde_json::Value) -> Item {
    parse_item(json.as_object().unwrap()).unwrap()
}

fn attribute(name: &str, kind: &str) -> KeyAttribute {
    KeyAttribute { name: name.to_owned(), kind: kind.to_owned() }
}

fn definition() -> Definition {
    let index = Index {
        name: "by-owner".to_owned(),
        key: Key { hash: attribute("owner", "S"), range: Some(attribute("shard", "S")) },
        projection: "ALL".to_owned(),
        included: Vec::new(),
    };
    Definition {
        name: "leases".to_owned(),
        key: Key { hash: attribute("group", "S"), range: Some(attribute("n", "N")) },
        indexes: vec![index],
        tags: vec![("k".to_owned(), "v".to_owned())],
        expires_by: Some("until".to_owned()),
        is_protected: true,
    }
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (writer, _jobs) = storage.take_writer().unwrap();
        let mut world = World { _folder: folder, storage, writer };
        world.job(|tx| table::create(tx, &definition(), NOW)).unwrap();
        world
    }

    fn job<T>(
        &mut self,
        work: impl Fn(&rusqlite::Transaction<'_>) -> rusqlite::Result<Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let transaction = self.writer.transaction().unwrap();
        let answer = work(&transaction).unwrap();
        transaction.commit().unwrap();
        answer
    }

    fn write(
        &mut self,
        key: Item,
        condition: Option<&str>,
        change: Change,
    ) -> Result<Written, Refused> {
        let condition = condition.map(|text| {
            let values = item(json!({":v": {"N": "1"}, ":o": {"S": "me"}}));
            let placeholders = Placeholders::new(BTreeMap::new(), values);
            parse::condition("ConditionExpression", text, &placeholders).unwrap()
        });
        let table = "leases".to_owned();
        let writes = [Write { table, key, condition, change }];
        self.job(|tx| table::write(tx, &writes)).map(|mut written| written.pop().unwrap())
    }

    fn put(&mut self, json: serde_json::Value) -> Result<Written, Refused> {
        self.write(Item::new(), None, Change::Put(item(json)))
    }

    fn reader(&self) -> ReadConnection {
        self.storage.reader().unwrap()
    }
}

fn search(index: Option<&str>, limit: usize, after: Option<Item>) -> Search {
    Search {
        table: "leases".to_owned(),
        index: index.map(str::to_owned),
        after,
        limit,
        filter: None,
        projection: Vec::new(),
    }
}

fn equals(name: &str, value: &str) -> Condition {
    let value = Operand::Value(Value::Text(value.to_owned()));
    Condition::Compare(Operand::Path(Path::attribute(name)), Comparison::Equal, value)
}

#[test]
fn a_table_is_described_as_it_was_made_and_guarded() {
    let mut world = World::new();
    let described = table::describe(world.reader().sqlite(), "leases").unwrap().unwrap();
    assert_eq!(
        described,
        Described { definition: definition(), created_at: NOW, items: 0, bytes: 0 }
    );
    let again = world.job(|tx| table::create(tx, &definition(), NOW));
    assert_eq!(again.unwrap_err(), Refused::Exists("leases".to_owned()));
    let kept = world.job(|tx| table::delete(tx, "leases")).unwrap_err();
    assert!(kept.to_string().contains("protected against deletion"));
    world
        .job(|tx| {
            table::alter(tx, "leases", &|definition: &mut Definition| {
                definition.is_protected = false;
                Ok(())
            })
        })
        .unwrap();
    world.put(json!({"group": {"S": "g"}, "n": {"N": "1"}})).unwrap();
    world.job(|tx| table::delete(tx, "leases")).unwrap();
    assert_eq!(table::names(world.reader().sqlite(), "", 9).unwrap(), Vec::<String>::new());
    let left: i64 =
        world.writer.query_row("SELECT count(*) FROM lease_item", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    for n in 0..limits::LEASE_TABLES_MAX {
        let definition = Definition { name: format!("t{n}"), ..definition() };
        world.job(|tx| table::create(tx, &definition, NOW)).unwrap();
    }
    assert_eq!(world.job(|tx| table::create(tx, &definition(), NOW)).unwrap_err(), Refused::Tables);
}

#[test]
fn of_two_that_want_a_lease_one_gets_it() {
    let mut world = World::new();
    let lease =
        |owner: &str| item(json!({"group": {"S": "g"}, "n": {"N": "1"}, "owner": {"S": owner}}));
    let free = Some("attribute_not_exists(owner)");
    assert!(world.write(Item::new(), free, Change::Put(lease("me"))).is_ok());
    let late = world.write(Item::new(), free, Change::Put(lease("you")));
    assert_eq!(late.unwrap_err(), Refused::Failed);
    let key = item(json!({"group": {"S": "g"}, "n": {"N": "1.0"}}));
    let add = Action::Add(Path::attribute("count"), Value::Number(1.into()));
    let mine = world.write(key.clone(), Some("owner = :o"), Change::Update(vec![add])).unwrap();
    assert_eq!(mine.after["count"], Value::Number(1.into()));
    assert_eq!(mine.before["owner"], Value::Text("me".to_owned()));
    assert!(world.write(key, Some("owner = :o"), Change::Delete).unwrap().after.is_empty());
    let described = table::describe(world.reader().sqlite(), "leases").unwrap().unwrap();
    assert_eq!((described.items, described.bytes), (0, 0));
}

#[test]
fn what_is_wrong_with_tables_of_leases_is_told() {
    let told_after = |sql: &str| {
        let mut world = World::new();
        for n in 0..3 {
            let n = n.to_string();
            world.put(json!({"group": {"S": "g"}, "n": {"N": n}, "at": {"S": "7"}})).unwrap();
        }
        assert_eq!(verify(&world.reader()).unwrap(), [""; 0], "whole before");
        world.writer.execute_batch(&format!("PRAGMA foreign_keys = 0; {sql}")).unwrap();
        verify(&world.reader()).unwrap()
    };
    let of = "of the table of leases 'leases'";
    let first = "key = (SELECT min(key) FROM lease_item)";
    assert_eq!(
        told_after(&format!("UPDATE lease_item SET item = '{{' WHERE {first}")),
        [format!("1 items {of} cannot be read")]
    );
    assert_eq!(
        told_after(&format!("UPDATE lease_item SET key = x'00' WHERE {first}")),
        [format!("1 items {of} have another key than the one they are stored under")]
    );
    let counted = "the table of leases 'leases' has 2 items of";
    let told = told_after(&format!("DELETE FROM lease_item WHERE {first}"));
    assert!(told.len() == 1 && told[0].starts_with(counted), "{told:?}");
    assert_eq!(
        told_after("UPDATE lease_table SET definition = '[]'"),
        ["the table of leases 'leases' has no definition that can be read"]
    );
    assert_eq!(told_after("DELETE FROM lease_table"), ["3 items belong to no table of leases"]);
}

#[test]
fn what_does_not_fit_the_table_changes_nothing() {
    let mut world = World::new();
    for (wrong, says) in [
        (json!({"group": {"S": "g"}}), "Missing the key n"),
        (json!({"group": {"S": ""}, "n": {"N": "1"}}), "empty string"),
        (json!({"group": {"N": "1"}, "n": {"N": "1"}}), "expected: S actual: N"),
        (json!({"group": {"S": "g"}, "n": {"N": "1"}, "owner": {"N": "1"}}), "Index Key owner"),
        (json!({"group": {"S": "g".repeat(3000)}, "n": {"N": "1"}}), "maximum size"),
        (
            json!({"group": {"S": "g"}, "n": {"N": "1"}, "x": {"S": "x".repeat(500_000)}}),
            "Item size",
        ),
    ] {
        let refused = world.put(wrong).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    let key = item(json!({"group": {"S": "g"}, "n": {"N": "1"}}));
    let set = Action::Remove(Path::attribute("n"));
    let refused = world.write(key, None, Change::Update(vec![set])).unwrap_err();
    assert!(refused.to_string().contains("part of the key"));
    let short = world.write(item(json!({"group": {"S": "g"}})), None, Change::Delete).unwrap_err();
    assert!(short.to_string().contains("does not match the schema"));
    // Several writes are made together or not at all.
    let put = |json| Write {
        table: "leases".to_owned(),
        key: Item::new(),
        condition: None,
        change: Change::Put(item(json)),
    };
    let writes =
        [put(json!({"group": {"S": "g"}, "n": {"N": "1"}})), put(json!({"n": {"N": "1"}}))];
    assert!(world.job(|tx| table::write(tx, &writes)).is_err());
    let found =
        table::scan(world.reader().sqlite(), &search(None, 9, None), None).unwrap().unwrap();
    assert_eq!(found, Found::default());
}

#[test]
fn queries_go_by_the_range_key_and_by_an_index() {
    let mut world = World::new();
    for (group, n, owner) in
        [("g", "10", "a"), ("g", "9", "b"), ("g", "-1", "a"), ("h", "1", "a"), ("gg", "1", "b")]
    {
        let shard = format!("s{n}");
        world
            .put(json!({
                "group": {"S": group}, "n": {"N": n}, "owner": {"S": owner}, "shard": {"S": shard},
            }))
            .unwrap();
    }
    world.put(json!({"group": {"S": "g"}, "n": {"N": "5"}})).unwrap();
    let reader = world.reader();
    let query = |index, keys: &Condition, limit, after, order| {
        table::query(reader.sqlite(), &search(index, limit, after), keys, order).unwrap()
    };
    let numbers = |found: &Found| -> Vec<String> {
        found
            .items
            .iter()
            .map(|item| to_json(item)["n"]["N"].as_str().unwrap().to_owned())
            .collect()
    };
    let of_g = equals("group", "g");
    let all = query(None, &of_g, 99, None, Order::Ascending).unwrap();
    assert_eq!(numbers(&all), ["-1", "5", "9", "10"]);
    assert_eq!(all.last, None);
    let first = query(None, &of_g, 3, None, Order::Descending).unwrap();
    assert_eq!(numbers(&first), ["10", "9", "5"]);
    let rest = query(None, &of_g, 3, first.last, Order::Descending).unwrap();
    assert_eq!((numbers(&rest), rest.last), (vec!["-1".to_owned()], None));
    let more = Condition::All(vec![
        of_g.clone(),
        Condition::Compare(
            Operand::Path(Path::attribute("n")),
            Comparison::Greater,
            Operand::Value(Value::Number(5.into())),
        ),
    ]);
    assert_eq!(numbers(&query(None, &more, 9, None, Order::Ascending).unwrap()), ["9", "10"]);
    let of_a = equals("owner", "a");
    let page = query(Some("by-owner"), &of_a, 2, None, Order::Ascending).unwrap();
    assert_eq!(numbers(&page), ["-1", "1"]);
    let last = page.last.unwrap();
    assert_eq!(last.len(), 4, "the index's key and the table's");
    let page = query(Some("by-owner"), &of_a, 2, Some(last), Order::Ascending).unwrap();
    assert_eq!(numbers(&page), ["10"]);
    for (index, keys, after, says) in [
        (None, &of_a, None, "missed key schema element: group"),
        (Some("none"), &of_a, None, "specified index"),
        (None, &of_g, Some(item(json!({"n": {"N": "1"}}))), "starting key is invalid"),
    ] {
        let refused = query(index, keys, 9, after, Order::Ascending).unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    PutNew(u8, u8),
    Add(u8, u8),
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        (0_u8..6, any::<u8>()).prop_map(|(key, value)| Step::PutNew(key, value)),
        (0_u8..6, any::<u8>()).prop_map(|(key, value)| Step::Add(key, value)),
        (0_u8..6).prop_map(Step::Delete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Random writes, compared with a map; scans in pages and in parts find each item once.
    #[test]
    fn a_table_is_a_map(steps in prop::collection::vec(step(), 1..40), limit in 1_usize..4, of in 1_u32..4) {
        let mut world = World::new();
        let mut model: BTreeMap<u8, u64> = BTreeMap::new();
        let key = |n: u8| item(json!({"group": {"S": "g"}, "n": {"N": n.to_string()}}));
        let with = |n: u8, value: u64| {
            let mut item = key(n);
            item.insert("v".to_owned(), Value::Number(usize::try_from(value).unwrap().into()));
            item
        };
        for step in steps {
            match step {
                Step::Put(n, value) => {
                    world.write(Item::new(), None, Change::Put(with(n, value.into()))).unwrap();
                    model.insert(n, value.into());
                }
                Step::PutNew(n, value) => {
                    let put = Change::Put(with(n, value.into()));
                    let is_put = world.write(Item::new(), Some("attribute_not_exists(n)"), put).is_ok();
                    prop_assert_eq!(is_put, !model.contains_key(&n));
                    model.entry(n).or_insert(value.into());
                }
                Step::Add(n, value) => {
                    let value = u64::from(value);
                    let number = Value::Number(usize::try_from(value).unwrap().into());
                    let add = Change::Update(vec![Action::Add(Path::attribute("v"), number)]);
                    world.write(key(n), None, add).unwrap();
                    *model.entry(n).or_default() += value;
                }
                Step::Delete(n) => {
                    let written = world.write(key(n), None, Change::Delete).unwrap();
                    prop_assert_eq!(!written.before.is_empty(), model.remove(&n).is_some());
                }
            }
        }
        let reader = world.reader();
        let mut found = Vec::new();
        for number in 0..of {
            let mut after = None;
            loop {
                let search = search(None, limit, after);
                let page = table::scan(reader.sqlite(), &search, Some(Part { number, of })).unwrap().unwrap();
                found.extend(page.items);
                after = page.last;
                if after.is_none() {
                    break;
                }
            }
        }
        found.sort();
        let mut expected: Vec<Item> = model.iter().map(|(n, value)| with(*n, *value)).collect();
        expected.sort();
        let described = table::describe(reader.sqlite(), "leases").unwrap().unwrap();
        prop_assert_eq!(described.items, expected.len() as u64);
        prop_assert_eq!(usize::try_from(described.bytes).unwrap(), expected.iter().map(value::item_size).sum::<usize>());
        prop_assert_eq!(found, expected);
    }
}
