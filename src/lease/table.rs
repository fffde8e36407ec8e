//! The tables of leases: SQL.

use std::cmp::Ordering;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::Transaction;
use rusqlite::params;
use serde_json::Value as Json;
use serde_json::json;

use crate::clock::Timestamp;
use crate::limits;

use super::Change;
use super::Definition;
use super::Described;
use super::Found;
use super::Index;
use super::Key;
use super::KeyAttribute;
use super::Order;
use super::Part;
use super::Refused;
use super::Search;
use super::Write;
use super::Written;
use super::expression;
use super::expression::Comparison;
use super::expression::Condition;
use super::expression::Operand;
use super::expression::Path;
use super::value::Item;
use super::value::Value;
use super::value::item_size;
use super::value::parse_item;
use super::value::to_json;

/// Joined the schema with the lease tables.
pub(crate) const SCHEMA: &str = "
CREATE TABLE lease_table (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    items INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE lease_item (
    lease_table INTEGER NOT NULL REFERENCES lease_table (id),
    key BLOB NOT NULL,
    item TEXT NOT NULL,
    PRIMARY KEY (lease_table, key)
) STRICT, WITHOUT ROWID;
";

type Outcome<T> = rusqlite::Result<Result<T, Refused>>;

/// Goes on with what was found, or answers why not: `?` is for what SQLite says.
macro_rules! or_refuse {
    ($found:expr) => {
        match $found {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        }
    };
}

/// What a row says that this program did not write.
fn damaged(what: &str) -> rusqlite::Error {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

fn key_to_json(key: &Key) -> Json {
    key.attributes().map(|KeyAttribute { name, kind }| json!([name, kind])).collect()
}

fn key_from_json(json: &Json) -> Option<Key> {
    let attribute = |json: &Json| {
        let text = |place: usize| json.get(place)?.as_str().map(str::to_owned);
        Some(KeyAttribute { name: text(0)?, kind: text(1)? })
    };
    let range = match json.get(1) {
        Some(range) => Some(attribute(range)?),
        None => None,
    };
    Some(Key { hash: attribute(json.get(0)?)?, range })
}

fn definition_to_json(definition: &Definition) -> Json {
    let index = |index: &Index| {
        json!({
            "name": index.name, "key": key_to_json(&index.key), "projection": index.projection,
            "included": index.included,
        })
    };
    json!({
        "key": key_to_json(&definition.key),
        "indexes": definition.indexes.iter().map(index).collect::<Vec<_>>(),
        "tags": definition.tags,
        "expires_by": definition.expires_by,
        "is_protected": definition.is_protected,
    })
}

fn definition_from_json(name: String, json: &Json) -> Option<Definition> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    let index = |json: &Json| {
        let included = json.get("included")?.as_array()?;
        Some(Index {
            name: text(json.get("name")?)?,
            key: key_from_json(json.get("key")?)?,
            projection: text(json.get("projection")?)?,
            included: included.iter().map(text).collect::<Option<_>>()?,
        })
    };
    let tag = |json: &Json| Some((text(json.get(0)?)?, text(json.get(1)?)?));
    Some(Definition {
        name,
        key: key_from_json(json.get("key")?)?,
        indexes: json.get("indexes")?.as_array()?.iter().map(index).collect::<Option<_>>()?,
        tags: json.get("tags")?.as_array()?.iter().map(tag).collect::<Option<_>>()?,
        expires_by: json.get("expires_by").and_then(text),
        is_protected: json.get("is_protected")?.as_bool()?,
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Described)> {
    let (name, definition): (String, String) = (row.get(1)?, row.get(2)?);
    let definition = serde_json::from_str(&definition).ok();
    let definition = definition.and_then(|json| definition_from_json(name, &json));
    let described = Described {
        definition: definition.ok_or_else(|| damaged("a table's definition"))?,
        created_at: Timestamp::from_millis(row.get(3)?),
        items: row.get::<_, i64>(4)?.unsigned_abs(),
        bytes: row.get::<_, i64>(5)?.unsigned_abs(),
    };
    Ok((row.get(0)?, described))
}

/// A table and its row.
fn find(connection: &Connection, name: &str) -> Outcome<(i64, Described)> {
    let found = connection
        .prepare_cached(
            "SELECT id, name, definition, created_at, items, bytes FROM lease_table WHERE name = ?1",
        )?
        .query_row([name], read)
        .optional()?;
    Ok(found.ok_or_else(|| Refused::Unknown(name.to_owned())))
}

pub(super) fn describe(connection: &Connection, name: &str) -> Outcome<Described> {
    Ok(find(connection, name)?.map(|(_, described)| described))
}

pub(super) fn names(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<String>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT name FROM lease_table WHERE name > ?1 ORDER BY name LIMIT ?2")?
        .query_map(params![after, limit], |row| row.get(0))?
        .collect()
}

pub(super) fn create(
    transaction: &Transaction<'_>,
    definition: &Definition,
    now: Timestamp,
) -> Outcome<Described> {
    if find(transaction, &definition.name)?.is_ok() {
        return Ok(Err(Refused::Exists(definition.name.clone())));
    }
    let count: i64 = transaction
        .prepare_cached("SELECT count(*) FROM lease_table")?
        .query_row([], |row| row.get(0))?;
    if count.unsigned_abs() >= limits::LEASE_TABLES_MAX {
        return Ok(Err(Refused::Tables));
    }
    let json = definition_to_json(definition).to_string();
    transaction
        .prepare_cached(
            "INSERT INTO lease_table (name, definition, created_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![definition.name, json, now.as_millis()])?;
    let definition = definition.clone();
    Ok(Ok(Described { definition, created_at: now, items: 0, bytes: 0 }))
}

pub(super) fn delete(transaction: &Transaction<'_>, name: &str) -> Outcome<Described> {
    let (id, described) = or_refuse!(find(transaction, name)?);
    if described.definition.is_protected {
        return Ok(Err(Refused::Invalid(
            "Resource cannot be deleted as it is currently protected against deletion. Disable \
             deletion protection first."
                .to_owned(),
        )));
    }
    transaction.prepare_cached("DELETE FROM lease_item WHERE lease_table = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM lease_table WHERE id = ?1")?.execute([id])?;
    Ok(Ok(described))
}

pub(super) fn alter(
    transaction: &Transaction<'_>,
    name: &str,
    change: &impl Fn(&mut Definition) -> Result<(), Refused>,
) -> Outcome<Described> {
    let (id, mut described) = or_refuse!(find(transaction, name)?);
    or_refuse!(change(&mut described.definition));
    let json = definition_to_json(&described.definition).to_string();
    transaction
        .prepare_cached("UPDATE lease_table SET definition = ?2 WHERE id = ?1")?
        .execute(params![id, json])?;
    Ok(Ok(described))
}

/// A key as its column has it: each value with its type and length, so that no two are the same.
fn to_blob(key: &Key, item: &Item) -> Vec<u8> {
    let mut blob = Vec::new();
    key.attributes().for_each(|attribute| put_value(&mut blob, item.get(&attribute.name)));
    blob
}

fn put_value(blob: &mut Vec<u8>, value: Option<&Value>) {
    let (kind, bytes) = match value {
        Some(Value::Text(text)) => (1, text.as_bytes().to_vec()),
        Some(Value::Number(number)) => (2, number.to_string().into_bytes()),
        Some(Value::Bytes(bytes)) => (3, bytes.clone()),
        _ => (0, Vec::new()),
    };
    blob.push(kind);
    blob.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    blob.extend(bytes);
}

/// The key of a request, which has nothing but the key's attributes.
fn exact_key(key: &Key, item: &Item) -> Result<Vec<u8>, Refused> {
    let mismatch = "The provided key element does not match the schema";
    if item.len() != key.attributes().count() || key.of(item).is_none() {
        return Err(Refused::Invalid(mismatch.to_owned()));
    }
    match key.fault_of(item) {
        Some(fault) => Err(Refused::Invalid(fault)),
        None => Ok(to_blob(key, item)),
    }
}

fn parse(text: &str) -> rusqlite::Result<Item> {
    let json: Option<Json> = serde_json::from_str(text).ok();
    let item = json.as_ref().and_then(Json::as_object).map(parse_item);
    item.and_then(Result::ok).ok_or_else(|| damaged("an item"))
}

/// Tells what is wrong with a table and its items.
pub(super) fn verify(
    connection: &Connection,
    name: &str,
    told: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let (id, described) = match find(connection, name) {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => return Ok(()),
        Err(rusqlite::Error::FromSqlConversionFailure(..)) => {
            told.push(format!("the table of leases '{name}' has no definition that can be read"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let schema = &described.definition.key;
    let mut select =
        connection.prepare_cached("SELECT key, item FROM lease_item WHERE lease_table = ?1")?;
    let mut rows = select.query([id])?;
    let (mut items, mut bytes, mut unreadable, mut misplaced) = (0_u64, 0_u64, 0_u64, 0_u64);
    while let Some(row) = rows.next()? {
        items += 1;
        let (key, text): (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
        match parse(&text) {
            Ok(item) => {
                bytes += item_size(&item) as u64;
                misplaced += u64::from(to_blob(schema, &item) != key);
            }
            Err(_) => unreadable += 1,
        }
    }
    for (count, what) in [
        (unreadable, "cannot be read"),
        (misplaced, "have another key than the one they are stored under"),
    ] {
        if count > 0 {
            told.push(format!("{count} items of the table of leases '{name}' {what}"));
        }
    }
    if unreadable == 0 && (items, bytes) != (described.items, described.bytes) {
        let (told_items, told_bytes) = (described.items, described.bytes);
        told.push(format!(
            "the table of leases '{name}' has {items} items of {bytes} bytes, and counts {told_items} of \
             {told_bytes}"
        ));
    }
    Ok(())
}

fn load(connection: &Connection, table: i64, key: &[u8]) -> rusqlite::Result<Option<Item>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT item FROM lease_item WHERE lease_table = ?1 AND key = ?2")?
        .query_row(params![table, key], |row| row.get(0))
        .optional()?;
    text.map(|text| parse(&text)).transpose()
}

pub(super) fn get(connection: &Connection, table: &str, keys: &[Item]) -> Outcome<Vec<Item>> {
    let (id, described) = or_refuse!(find(connection, table)?);
    let mut items = Vec::with_capacity(keys.len());
    for key in keys {
        let key = or_refuse!(exact_key(&described.definition.key, key));
        items.push(load(connection, id, &key)?.unwrap_or_default());
    }
    Ok(Ok(items))
}

pub(super) fn write(transaction: &Transaction<'_>, writes: &[Write]) -> Outcome<Vec<Written>> {
    // A refusal undoes what was written before it.
    transaction.execute_batch("SAVEPOINT lease_writes")?;
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        match write_one(transaction, write)? {
            Ok(done) => written.push(done),
            Err(refused) => {
                transaction.execute_batch("ROLLBACK TO lease_writes; RELEASE lease_writes")?;
                return Ok(Err(refused));
            }
        }
    }
    transaction.execute_batch("RELEASE lease_writes")?;
    Ok(Ok(written))
}

fn write_one(transaction: &Connection, write: &Write) -> Outcome<Written> {
    let (id, described) = or_refuse!(find(transaction, &write.table)?);
    let schema = &described.definition.key;
    let key = or_refuse!(match &write.change {
        Change::Put(item) => match schema.fault_of(item) {
            Some(fault) => Err(Refused::Invalid(fault)),
            None => Ok(to_blob(schema, item)),
        },
        Change::Update(_) | Change::Delete => exact_key(schema, &write.key),
    });
    let before = load(transaction, id, &key)?.unwrap_or_default();
    if write.condition.as_ref().is_some_and(|condition| !condition.holds(&before)) {
        return Ok(Err(Refused::Failed));
    }
    let after = or_refuse!(changed(&described.definition, write, &before));
    let (size_before, size_after) = (item_size(&before), item_size(&after));
    let (is_there, stays) = (!before.is_empty(), !after.is_empty());
    let bytes = usize::try_from(described.bytes).unwrap_or(usize::MAX);
    let bytes = bytes.saturating_sub(size_before).saturating_add(size_after);
    let items = described.items + u64::from(stays) - u64::from(is_there).min(described.items);
    let grows = size_after > size_before;
    if grows && (items > limits::LEASE_ITEMS_MAX || bytes > limits::LEASE_TABLE_BYTES_MAX) {
        return Ok(Err(Refused::Full));
    }
    if stays {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO lease_item VALUES (?1, ?2, ?3)")?
            .execute(params![id, key, to_json(&after).to_string()])?;
    } else if is_there {
        transaction
            .prepare_cached("DELETE FROM lease_item WHERE lease_table = ?1 AND key = ?2")?
            .execute(params![id, key])?;
    }
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("UPDATE lease_table SET items = ?2, bytes = ?3 WHERE id = ?1")?
        .execute(params![id, i64::try_from(items).unwrap_or(i64::MAX), bytes])?;
    Ok(Ok(Written { before, after }))
}

/// The item after a write.
fn changed(definition: &Definition, write: &Write, before: &Item) -> Result<Item, Refused> {
    let invalid = |message: &str| Err(Refused::Invalid(message.to_owned()));
    let after = match &write.change {
        Change::Delete => return Ok(Item::new()),
        Change::Put(item) => item.clone(),
        Change::Update(actions) => {
            let is_key = |name: &str| definition.key.attributes().any(|key| key.name == name);
            if let Some(action) = actions.iter().find(|action| is_key(action.path().root())) {
                return Err(Refused::Invalid(format!(
                    "One or more parameter values were invalid: Cannot update attribute {}. This \
                     attribute is part of the key",
                    action.path().root()
                )));
            }
            let mut item = if before.is_empty() { write.key.clone() } else { before.clone() };
            expression::apply(&mut item, actions).map_err(Refused::Invalid)?;
            item
        }
    };
    // What an index is by has the index's type, or is not there.
    for attribute in definition.indexes.iter().flat_map(|index| index.key.attributes()) {
        let value = after.get(&attribute.name);
        if let Some(value) = value.filter(|value| value.kind() != attribute.kind) {
            return Err(Refused::Invalid(format!(
                "One or more parameter values were invalid: Type mismatch for Index Key {} Expected: \
                 {} Actual: {}",
                attribute.name,
                attribute.kind,
                value.kind()
            )));
        }
    }
    match item_size(&after) > limits::LEASE_ITEM_BYTES_MAX {
        true => invalid("Item size has exceeded the maximum allowed size"),
        false => Ok(after),
    }
}

/// What a search is of: the table's row, the key that it goes by, and the table's own.
struct Searched {
    id: i64,
    by: Key,
    own: Key,
}

impl Searched {
    fn of(connection: &Connection, search: &Search) -> Outcome<Searched> {
        let (id, described) = or_refuse!(find(connection, &search.table)?);
        let Definition { key: own, indexes, .. } = described.definition;
        let Some(name) = &search.index else {
            return Ok(Ok(Searched { id, by: own.clone(), own }));
        };
        let index = indexes.into_iter().find(|index| index.name == *name);
        let missing =
            || Refused::Invalid(format!("The table does not have the specified index: {name}"));
        Ok(index.ok_or_else(missing).map(|index| Searched { id, by: index.key, own }))
    }

    /// What `LastEvaluatedKey` says of an item.
    fn key_of(&self, item: &Item) -> Item {
        let attributes = self.by.attributes().chain(self.own.attributes());
        let found = |key: &KeyAttribute| Some((key.name.clone(), item.get(&key.name)?.clone()));
        attributes.filter_map(found).collect()
    }

    /// `ExclusiveStartKey` as the column has it.
    fn start(&self, after: Option<&Item>) -> Result<Option<Vec<u8>>, Refused> {
        let Some(after) = after else { return Ok(None) };
        let is_whole = self.own.of(after).is_some() && self.by.of(after).is_some();
        match is_whole && *after == self.key_of(after) {
            true => Ok(Some(to_blob(&self.own, after))),
            false => Err(Refused::Invalid("The provided starting key is invalid".to_owned())),
        }
    }
}

/// Items as they are found, within the bounds of an answer.
struct Page<'a> {
    search: &'a Search,
    searched: &'a Searched,
    found: Found,
    bytes: usize,
}

impl Page<'_> {
    /// Takes the next item; answers whether there is room for another.
    fn take(&mut self, item: &Item) -> bool {
        self.found.scanned += 1;
        self.bytes += item_size(item);
        let is_wanted = self.search.filter.as_ref().is_none_or(|filter| filter.holds(item));
        if is_wanted {
            self.found.items.push(match &self.search.projection[..] {
                [] => item.clone(),
                paths => expression::project(item, paths),
            });
        }
        let is_full =
            self.found.scanned >= self.search.limit || self.bytes >= limits::LEASE_PAGE_BYTES_MAX;
        self.found.last = is_full.then(|| self.searched.key_of(item));
        !is_full
    }
}

pub(super) fn scan(connection: &Connection, search: &Search, part: Option<Part>) -> Outcome<Found> {
    let searched = or_refuse!(Searched::of(connection, search)?);
    let start = or_refuse!(searched.start(search.after.as_ref())).unwrap_or_default();
    let mut select = connection.prepare_cached(
        "SELECT key, item FROM lease_item WHERE lease_table = ?1 AND key > ?2 ORDER BY key",
    )?;
    let mut rows = select.query(params![searched.id, start])?;
    let mut page = Page { search, searched: &searched, found: Found::default(), bytes: 0 };
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        if part.is_some_and(|part| crc32fast::hash(key) % part.of.max(1) != part.number) {
            continue;
        }
        let item = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
        if searched.by.of(&item).is_some() && !page.take(&item) {
            break;
        }
    }
    Ok(Ok(page.found))
}

/// The value that a key condition wants the hash key to have.
fn wanted_hash<'a>(keys: &'a Condition, hash: &str) -> Option<&'a Value> {
    match keys {
        Condition::Compare(Operand::Path(path), Comparison::Equal, Operand::Value(value)) => {
            (*path == Path::attribute(hash)).then_some(value)
        }
        Condition::All(all) => all.iter().find_map(|one| wanted_hash(one, hash)),
        _ => None,
    }
}

pub(super) fn query(
    connection: &Connection,
    search: &Search,
    keys: &Condition,
    order: Order,
) -> Outcome<Found> {
    let searched = or_refuse!(Searched::of(connection, search)?);
    let hash = &searched.by.hash;
    let Some(wanted) = wanted_hash(keys, &hash.name) else {
        let message = format!("Query condition missed key schema element: {}", hash.name);
        return Ok(Err(Refused::Invalid(message)));
    };
    let start = or_refuse!(searched.start(search.after.as_ref()));
    // By the table's own key its items stand together; an index is looked for in all of them.
    let mut prefix = Vec::new();
    if search.index.is_none() {
        put_value(&mut prefix, Some(wanted));
    }
    let end = [&prefix[..], &[u8::MAX]].concat();
    let mut select = connection.prepare_cached(
        "SELECT key, item FROM lease_item WHERE lease_table = ?1 AND key BETWEEN ?2 AND ?3",
    )?;
    let mut rows = select.query(params![searched.id, prefix, end])?;
    let mut matching: Vec<(Vec<u8>, Item)> = Vec::new();
    while let Some(row) = rows.next()? {
        let item = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
        if searched.by.of(&item).is_some() && keys.holds(&item) {
            matching.push((row.get(0)?, item));
        }
    }
    let range = searched.by.range.as_ref().map(|range| range.name.as_str());
    let compare = |(a_key, a): (&[u8], &Item), (b_key, b): (&[u8], &Item)| {
        let by_range = range.and_then(|range| a.get(range)?.compare(b.get(range)?));
        let ordering = by_range.unwrap_or(Ordering::Equal).then_with(|| a_key.cmp(b_key));
        match order {
            Order::Ascending => ordering,
            Order::Descending => ordering.reverse(),
        }
    };
    matching.sort_by(|(a_key, a), (b_key, b)| compare((&a_key[..], a), (&b_key[..], b)));
    let mut page = Page { search, searched: &searched, found: Found::default(), bytes: 0 };
    for (key, item) in &matching {
        let is_before = match (&start, &search.after) {
            (Some(start), Some(after)) => compare((&key[..], item), (&start[..], after)).is_le(),
            _ => false,
        };
        if !is_before && !page.take(item) {
            break;
        }
    }
    Ok(Ok(page.found))
}
