//! GetItem, PutItem, UpdateItem, DeleteItem, Scan and Query.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use super::conditions::Legacy;
use super::conditions::LegacyUpdate;
use super::conditions::Named;
use super::conditions::actions;
use super::conditions::condition;
use super::invalid;
use super::item;
use super::table_name;
use crate::kinesis::Kinesis;
use crate::kinesis::fault::Fault;
use crate::lease::Change;
use crate::lease::Found;
use crate::lease::Order;
use crate::lease::Part;
use crate::lease::Search;
use crate::lease::Write;
use crate::lease::Written;
use crate::lease::expression::Path;
use crate::lease::expression::project;
use crate::lease::parse;
use crate::lease::parse::Placeholders;
use crate::lease::value::Item;
use crate::lease::value::to_json;

/// Most parts of a parallel scan (DynamoDB: 1,000,000).
const PARTS_MAX: u32 = 1_000_000;

/// A request for one item.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ItemRequest {
    table_name: Option<String>,
    key: Option<Map<String, Json>>,
    item: Option<Map<String, Json>>,
    condition_expression: Option<String>,
    expected: Option<BTreeMap<String, Legacy>>,
    conditional_operator: Option<String>,
    update_expression: Option<String>,
    attribute_updates: Option<BTreeMap<String, LegacyUpdate>>,
    projection_expression: Option<String>,
    attributes_to_get: Option<Vec<String>>,
    return_values: Option<String>,
    #[serde(flatten)]
    named: Named,
}

impl ItemRequest {
    fn condition(
        &self,
        placeholders: &Placeholders,
    ) -> Result<Option<crate::lease::expression::Condition>, Fault> {
        let (text, operator) =
            (self.condition_expression.as_deref(), self.conditional_operator.as_deref());
        condition("ConditionExpression", text, self.expected.as_ref(), operator, placeholders)
    }

    /// Reads all that it says. For fuzzing.
    pub(super) fn probe(&self) -> Result<(), Fault> {
        let placeholders = self.named.placeholders()?;
        self.condition(&placeholders)?;
        let (text, legacy) = (self.update_expression.as_deref(), self.attribute_updates.as_ref());
        actions(text, legacy, &placeholders)?;
        projection(self.projection_expression.as_deref(), None, &placeholders)?;
        item(self.item.as_ref(), "item").map(drop)
    }
}

/// The parts of items that a request wants; all when there are none.
fn projection(
    text: Option<&str>,
    legacy: Option<&Vec<String>>,
    placeholders: &Placeholders,
) -> Result<Vec<Path>, Fault> {
    match (text, legacy) {
        (Some(text), _) => parse::projection(text, placeholders).map_err(invalid),
        (None, Some(names)) => Ok(names.iter().map(|name| Path::attribute(name)).collect()),
        (None, None) => Ok(Vec::new()),
    }
}

/// Answers an item, or nothing when there is none.
pub(super) async fn get(kinesis: &Arc<Kinesis>, request: ItemRequest) -> Result<Json, Fault> {
    let placeholders = request.named.placeholders()?;
    let (text, legacy) =
        (request.projection_expression.as_deref(), request.attributes_to_get.as_ref());
    let paths = projection(text, legacy, &placeholders)?;
    placeholders.all_used().map_err(invalid)?;
    let key = item(request.key.as_ref(), "key")?;
    let table = table_name(request.table_name)?;
    let found = kinesis.leases.get(table, vec![key]).await??;
    Ok(match found.first().filter(|item| !item.is_empty()) {
        Some(item) if paths.is_empty() => json!({ "Item": to_json(item) }),
        Some(item) => json!({ "Item": to_json(&project(item, &paths)) }),
        None => json!({}),
    })
}

/// Puts an item in the place of the one there is.
pub(super) async fn put(kinesis: &Arc<Kinesis>, request: ItemRequest) -> Result<Json, Fault> {
    let item = item(request.item.as_ref(), "item")?;
    write(kinesis, request, Item::new(), Change::Put(item), &["NONE", "ALL_OLD"]).await
}

/// Deletes an item.
pub(super) async fn delete(kinesis: &Arc<Kinesis>, request: ItemRequest) -> Result<Json, Fault> {
    let key = item(request.key.as_ref(), "key")?;
    write(kinesis, request, key, Change::Delete, &["NONE", "ALL_OLD"]).await
}

/// Changes parts of an item; makes it when it is not there.
pub(super) async fn update(kinesis: &Arc<Kinesis>, request: ItemRequest) -> Result<Json, Fault> {
    let key = item(request.key.as_ref(), "key")?;
    let values = ["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"];
    // Its expression is read in `write`, with the placeholders of the condition.
    write(kinesis, request, key, Change::Update(Vec::new()), &values).await
}

async fn write(
    kinesis: &Arc<Kinesis>,
    request: ItemRequest,
    key: Item,
    mut change: Change,
    values: &[&str],
) -> Result<Json, Fault> {
    let placeholders = request.named.placeholders()?;
    let condition = request.condition(&placeholders)?;
    let mut changed: Vec<Path> = Vec::new();
    if let Change::Update(updates) = &mut change {
        let (text, legacy) =
            (request.update_expression.as_deref(), request.attribute_updates.as_ref());
        *updates = actions(text, legacy, &placeholders)?;
        changed.extend(updates.iter().map(|action| action.path().clone()));
    }
    placeholders.all_used().map_err(invalid)?;
    let wanted = request.return_values.as_deref().unwrap_or("NONE");
    if !values.contains(&wanted) {
        return Err(invalid(format!("Return values set to invalid value: {wanted}")));
    }
    let table = table_name(request.table_name)?;
    let written = kinesis.leases.write(vec![Write { table, key, condition, change }]).await??;
    let Written { before, after } = written.into_iter().next().unwrap_or_default();
    let attributes = match wanted {
        "ALL_OLD" => before,
        "ALL_NEW" => after,
        "UPDATED_OLD" => project(&before, &changed),
        "UPDATED_NEW" => project(&after, &changed),
        _ => Item::new(),
    };
    Ok(match attributes.is_empty() {
        true => json!({}),
        false => json!({ "Attributes": to_json(&attributes) }),
    })
}

/// A request for several items.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SearchRequest {
    table_name: Option<String>,
    index_name: Option<String>,
    exclusive_start_key: Option<Map<String, Json>>,
    limit: Option<i64>,
    filter_expression: Option<String>,
    scan_filter: Option<BTreeMap<String, Legacy>>,
    query_filter: Option<BTreeMap<String, Legacy>>,
    conditional_operator: Option<String>,
    key_condition_expression: Option<String>,
    key_conditions: Option<BTreeMap<String, Legacy>>,
    projection_expression: Option<String>,
    attributes_to_get: Option<Vec<String>>,
    scan_index_forward: Option<bool>,
    segment: Option<u32>,
    total_segments: Option<u32>,
    select: Option<String>,
    #[serde(flatten)]
    named: Named,
}

impl SearchRequest {
    fn search(&self, placeholders: &Placeholders) -> Result<Search, Fault> {
        let limit = self.limit.unwrap_or(i64::MAX);
        if limit < 1 {
            return Err(invalid(format!(
                "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy \
                 constraint: Member must have value greater than or equal to 1"
            )));
        }
        let legacy = self.scan_filter.as_ref().or(self.query_filter.as_ref());
        let (text, operator) =
            (self.filter_expression.as_deref(), self.conditional_operator.as_deref());
        let (paths, names) =
            (self.projection_expression.as_deref(), self.attributes_to_get.as_ref());
        let after = self.exclusive_start_key.as_ref();
        Ok(Search {
            table: table_name(self.table_name.clone())?,
            index: self.index_name.clone(),
            after: after.map(|key| item(Some(key), "exclusiveStartKey")).transpose()?,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            filter: condition("FilterExpression", text, legacy, operator, placeholders)?,
            projection: projection(paths, names, placeholders)?,
        })
    }

    fn part(&self) -> Result<Option<Part>, Fault> {
        match (self.segment, self.total_segments) {
            (None, None) => Ok(None),
            (Some(number), Some(of)) if number < of && of <= PARTS_MAX => {
                Ok(Some(Part { number, of }))
            }
            _ => Err(invalid(
                "The Segment parameter is zero-based and must be less than parameter TotalSegments",
            )),
        }
    }

    fn answer(&self, found: &Found) -> Json {
        let mut answer = json!({ "Count": found.items.len(), "ScannedCount": found.scanned });
        if self.select.as_deref() != Some("COUNT") {
            answer["Items"] = found.items.iter().map(to_json).collect();
        }
        if let Some(last) = &found.last {
            answer["LastEvaluatedKey"] = to_json(last);
        }
        answer
    }

    /// Reads all that it says. For fuzzing.
    pub(super) fn probe(&self) -> Result<(), Fault> {
        let placeholders = self.named.placeholders()?;
        self.search(&placeholders)?;
        self.part().map(drop)
    }
}

/// Answers all items of a table, a page at a time.
pub(super) async fn scan(kinesis: &Arc<Kinesis>, request: SearchRequest) -> Result<Json, Fault> {
    let placeholders = request.named.placeholders()?;
    let search = request.search(&placeholders)?;
    placeholders.all_used().map_err(invalid)?;
    let found = kinesis.leases.scan(search, request.part()?).await??;
    Ok(request.answer(&found))
}

/// Answers the items of a hash key, a page at a time.
pub(super) async fn query(kinesis: &Arc<Kinesis>, request: SearchRequest) -> Result<Json, Fault> {
    let placeholders = request.named.placeholders()?;
    let search = request.search(&placeholders)?;
    let (text, legacy) =
        (request.key_condition_expression.as_deref(), request.key_conditions.as_ref());
    let keys = condition("KeyConditionExpression", text, legacy, None, &placeholders)?;
    let keys = keys.ok_or_else(|| {
        invalid(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the \
             request.",
        )
    })?;
    placeholders.all_used().map_err(invalid)?;
    let order = match request.scan_index_forward {
        Some(false) => Order::Descending,
        _ => Order::Ascending,
    };
    let found = kinesis.leases.query(search, keys, order).await??;
    Ok(request.answer(&found))
}
