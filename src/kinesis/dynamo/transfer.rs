//! BatchGetItem and BatchWriteItem.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use super::invalid;
use super::item;
use super::table_name;
use crate::kinesis::Kinesis;
use crate::kinesis::fault::Fault;
use crate::lease::Change;
use crate::lease::Write;
use crate::lease::value::Item;
use crate::lease::value::to_json;

/// Items of one request (DynamoDB: 100 that are read, 25 that are written).
const READS_MAX: usize = 100;
const WRITES_MAX: usize = 25;

/// BatchGetItem's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRequest {
    request_items: BTreeMap<String, Keys>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    keys: Vec<Map<String, Json>>,
}

/// BatchWriteItem's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WriteRequest {
    request_items: BTreeMap<String, Vec<OneWrite>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneWrite {
    put_request: Option<PutOne>,
    delete_request: Option<DeleteOne>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutOne {
    item: Map<String, Json>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteOne {
    key: Map<String, Json>,
}

/// Answers the items of several keys.
pub(super) async fn get(kinesis: &Arc<Kinesis>, request: GetRequest) -> Result<Json, Fault> {
    let count: usize = request.request_items.values().map(|keys| keys.keys.len()).sum();
    check_count(count, READS_MAX)?;
    let mut responses = Map::new();
    for (name, Keys { keys }) in request.request_items {
        let keys = keys.iter().map(|key| item(Some(key), "key")).collect::<Result<_, _>>()?;
        let found = kinesis.leases.get(table_name(Some(name.clone()))?, keys).await??;
        let found = found.iter().filter(|item| !item.is_empty()).map(to_json).collect();
        responses.insert(name, found);
    }
    Ok(json!({ "Responses": responses, "UnprocessedKeys": {} }))
}

/// Puts and deletes several items, all of them or none.
pub(super) async fn write(kinesis: &Arc<Kinesis>, request: WriteRequest) -> Result<Json, Fault> {
    let count: usize = request.request_items.values().map(Vec::len).sum();
    check_count(count, WRITES_MAX)?;
    let mut writes = Vec::with_capacity(count);
    for (name, wanted) in request.request_items {
        let table = table_name(Some(name))?;
        for one in wanted {
            let (key, change) = match (one.put_request, one.delete_request) {
                (Some(put), None) => (Item::new(), Change::Put(item(Some(&put.item), "item")?)),
                (None, Some(delete)) => (item(Some(&delete.key), "key")?, Change::Delete),
                _ => {
                    return Err(invalid(
                        "Supplied AttributeValue has more than one datatypes set, must contain exactly \
                         one of PutRequest and DeleteRequest",
                    ));
                }
            };
            writes.push(Write { table: table.clone(), key, condition: None, change });
        }
    }
    kinesis.leases.write(writes).await??;
    Ok(json!({ "UnprocessedItems": {} }))
}

fn check_count(count: usize, most: usize) -> Result<(), Fault> {
    match count {
        0 => Err(invalid("The list of items to be read or written is empty")),
        _ if count > most => {
            Err(invalid(format!("Too many items requested: {count}, at most {most} are allowed")))
        }
        _ => Ok(()),
    }
}
