//! CreateTable, DescribeTable, UpdateTable, DeleteTable, ListTables, tags and TimeToLive.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::json;

use super::TableRequest;
use super::invalid;
use super::table_name;
use crate::kinesis::Kinesis;
use crate::kinesis::fault::Fault;
use crate::lease::Definition;
use crate::lease::Described;
use crate::lease::Index;
use crate::lease::Key;
use crate::lease::KeyAttribute;
use crate::lease::Refused;
use crate::limits::LEASE_INDEXES_MAX;
use crate::limits::STREAM_TAGS_MAX;

/// Names of tables in one list (DynamoDB: 100).
const NAMES_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SchemaElement {
    attribute_name: String,
    key_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributeDefinition {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Projection {
    projection_type: Option<String>,
    non_key_attributes: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexRequest {
    index_name: String,
    key_schema: Vec<SchemaElement>,
    projection: Option<Projection>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// CreateTable's request. Throughput, billing, encryption and the like are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRequest {
    table_name: Option<String>,
    attribute_definitions: Option<Vec<AttributeDefinition>>,
    key_schema: Option<Vec<SchemaElement>>,
    global_secondary_indexes: Option<Vec<IndexRequest>>,
    local_secondary_indexes: Option<Vec<IndexRequest>>,
    tags: Option<Vec<Tag>>,
    deletion_protection_enabled: Option<bool>,
}

fn key(schema: &[SchemaElement], attributes: &[AttributeDefinition]) -> Result<Key, Fault> {
    let attribute = |element: &SchemaElement| {
        let name = &element.attribute_name;
        let found = attributes.iter().find(|attribute| attribute.attribute_name == *name);
        let found = found.ok_or_else(|| {
            invalid(format!(
                "One or more parameter values were invalid: Some index key attributes are not defined \
                 in AttributeDefinitions. Keys: [{name}]"
            ))
        })?;
        let kind = found.attribute_type.clone();
        if !["S", "N", "B"].contains(&kind.as_str()) {
            return Err(invalid(format!(
                "Member must satisfy enum value set: [B, N, S]; the type of {name} is {kind}"
            )));
        }
        Ok(KeyAttribute { name: name.clone(), kind })
    };
    match schema {
        [hash] if hash.key_type == "HASH" => Ok(Key { hash: attribute(hash)?, range: None }),
        [hash, range] if hash.key_type == "HASH" && range.key_type == "RANGE" => {
            Ok(Key { hash: attribute(hash)?, range: Some(attribute(range)?) })
        }
        _ => Err(invalid(
            "Invalid KeySchema: a HASH key element comes first, and a RANGE key element may follow",
        )),
    }
}

fn index(request: IndexRequest, attributes: &[AttributeDefinition]) -> Result<Index, Fault> {
    let (projection, included) = match request.projection {
        Some(Projection { projection_type, non_key_attributes }) => {
            (projection_type, non_key_attributes)
        }
        None => (None, None),
    };
    Ok(Index {
        key: key(&request.key_schema, attributes)?,
        name: table_name(Some(request.index_name))?,
        projection: projection.unwrap_or_else(|| "ALL".to_owned()),
        included: included.unwrap_or_default(),
    })
}

/// Makes a table. It is there, and ACTIVE, when this is answered; DynamoDB says CREATING.
pub(super) async fn create(kinesis: &Arc<Kinesis>, request: CreateRequest) -> Result<Json, Fault> {
    let name = table_name(request.table_name)?;
    let attributes = request.attribute_definitions.unwrap_or_default();
    let key = key(&request.key_schema.unwrap_or_default(), &attributes)?;
    let indexes = request.global_secondary_indexes.into_iter().flatten();
    let indexes = indexes.chain(request.local_secondary_indexes.into_iter().flatten());
    let indexes: Vec<Index> =
        indexes.map(|one| index(one, &attributes)).collect::<Result<_, _>>()?;
    check_indexes(&indexes).map_err(Fault::from)?;
    let mut tags = Vec::new();
    put_tags(&mut tags, request.tags.into_iter().flatten()).map_err(Fault::from)?;
    let definition = Definition {
        name,
        key,
        indexes,
        tags,
        expires_by: None,
        is_protected: request.deletion_protection_enabled.unwrap_or_default(),
    };
    let created = kinesis.leases.create(definition).await??;
    Ok(json!({ "TableDescription": describe_table(kinesis, &created, "ACTIVE") }))
}

fn check_indexes(indexes: &[Index]) -> Result<(), Refused> {
    let is_double = |place: usize| indexes[..place].iter().any(|a| a.name == indexes[place].name);
    if (0..indexes.len()).any(is_double) {
        return Err(Refused::Invalid(
            "One or more parameter values were invalid: Duplicate index name".to_owned(),
        ));
    }
    match indexes.len() > LEASE_INDEXES_MAX {
        true => Err(Refused::Invalid(format!(
            "One or more parameter values were invalid: a table has at most {LEASE_INDEXES_MAX} indexes"
        ))),
        false => Ok(()),
    }
}

fn put_tags(
    tags: &mut Vec<(String, String)>,
    more: impl Iterator<Item = Tag>,
) -> Result<(), Refused> {
    for Tag { key, value } in more {
        tags.retain(|(known, _)| *known != key);
        tags.push((key, value));
    }
    match tags.len() > STREAM_TAGS_MAX {
        true => Err(Refused::Invalid(format!("a table has at most {STREAM_TAGS_MAX} tags"))),
        false => Ok(()),
    }
}

fn arn_of(kinesis: &Kinesis, name: &str) -> String {
    format!("arn:aws:dynamodb:{}:{}:table/{name}", kinesis.region, kinesis.account_id)
}

fn schema_of(key: &Key) -> Json {
    key.attributes()
        .zip(["HASH", "RANGE"])
        .map(|(attribute, kind)| json!({ "AttributeName": attribute.name, "KeyType": kind }))
        .collect()
}

fn describe_table(kinesis: &Kinesis, table: &Described, status: &str) -> Json {
    let Described { definition, created_at, items, bytes } = table;
    let arn = arn_of(kinesis, &definition.name);
    let mut attributes: Vec<&KeyAttribute> = definition.key.attributes().collect();
    for attribute in definition.indexes.iter().flat_map(|index| index.key.attributes()) {
        if !attributes.contains(&attribute) {
            attributes.push(attribute);
        }
    }
    let defined = |attribute: &&KeyAttribute| json!({ "AttributeName": attribute.name, "AttributeType": attribute.kind });
    // On demand, as DynamoDB describes it.
    let throughput =
        json!({ "NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0 });
    #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
    let created = created_at.as_millis() as f64 / 1000.0;
    let mut described = json!({
        "TableName": definition.name,
        "TableArn": arn,
        "TableStatus": status,
        "CreationDateTime": created,
        "KeySchema": schema_of(&definition.key),
        "AttributeDefinitions": attributes.iter().map(defined).collect::<Vec<_>>(),
        "ItemCount": items,
        "TableSizeBytes": bytes,
        "ProvisionedThroughput": throughput,
        "BillingModeSummary": { "BillingMode": "PAY_PER_REQUEST" },
        "DeletionProtectionEnabled": definition.is_protected,
    });
    if !definition.indexes.is_empty() {
        let index = |index: &Index| {
            let mut projection = json!({ "ProjectionType": index.projection });
            if !index.included.is_empty() {
                projection["NonKeyAttributes"] = json!(index.included);
            }
            json!({
                "IndexName": index.name,
                "IndexArn": format!("{arn}/index/{}", index.name),
                "IndexStatus": "ACTIVE",
                "KeySchema": schema_of(&index.key),
                "Projection": projection,
                "ProvisionedThroughput": throughput,
            })
        };
        described["GlobalSecondaryIndexes"] = definition.indexes.iter().map(index).collect();
    }
    described
}

/// Answers a table.
pub(super) async fn describe(kinesis: &Arc<Kinesis>, request: TableRequest) -> Result<Json, Fault> {
    let described = kinesis.leases.describe(table_name(request.table_name)?).await??;
    Ok(json!({ "Table": describe_table(kinesis, &described, "ACTIVE") }))
}

/// Deletes a table. It is gone when this is answered.
pub(super) async fn delete(kinesis: &Arc<Kinesis>, request: TableRequest) -> Result<Json, Fault> {
    let deleted = kinesis.leases.delete(table_name(request.table_name)?).await??;
    Ok(json!({ "TableDescription": describe_table(kinesis, &deleted, "DELETING") }))
}

/// UpdateTable's request. What it says of throughput and billing is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateRequest {
    table_name: Option<String>,
    attribute_definitions: Option<Vec<AttributeDefinition>>,
    global_secondary_index_updates: Option<Vec<IndexUpdate>>,
    deletion_protection_enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexUpdate {
    create: Option<IndexRequest>,
    delete: Option<IndexName>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexName {
    index_name: String,
}

/// Makes and deletes indexes of a table, and protects it.
pub(super) async fn update(kinesis: &Arc<Kinesis>, request: UpdateRequest) -> Result<Json, Fault> {
    let name = table_name(request.table_name)?;
    let attributes = request.attribute_definitions.unwrap_or_default();
    let (mut made, mut deleted) = (Vec::new(), Vec::new());
    for update in request.global_secondary_index_updates.into_iter().flatten() {
        if let Some(create) = update.create {
            made.push(index(create, &attributes)?);
        }
        deleted.extend(update.delete.map(|index| index.index_name));
    }
    let is_protected = request.deletion_protection_enabled;
    let change = move |definition: &mut Definition| {
        for name in &deleted {
            let before = definition.indexes.len();
            definition.indexes.retain(|index| index.name != *name);
            if definition.indexes.len() == before {
                return Err(Refused::Unknown(name.clone()));
            }
        }
        definition.indexes.extend(made.iter().cloned());
        definition.is_protected = is_protected.unwrap_or(definition.is_protected);
        check_indexes(&definition.indexes)
    };
    let changed = kinesis.leases.alter(name, change).await??;
    Ok(json!({ "TableDescription": describe_table(kinesis, &changed, "ACTIVE") }))
}

/// ListTables' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRequest {
    exclusive_start_table_name: Option<String>,
    limit: Option<usize>,
}

/// Answers the names of tables, a page at a time.
pub(super) async fn list(kinesis: &Arc<Kinesis>, request: ListRequest) -> Result<Json, Fault> {
    let limit = request.limit.unwrap_or(NAMES_MAX).clamp(1, NAMES_MAX);
    let after = request.exclusive_start_table_name.unwrap_or_default();
    // One more tells whether there is a next page.
    let mut names = kinesis.leases.names(after, limit + 1).await??;
    let has_more = names.len() > limit;
    names.truncate(limit);
    let mut answer = json!({ "TableNames": names });
    if let Some(last) = names.last().filter(|_| has_more) {
        answer["LastEvaluatedTableName"] = json!(last);
    }
    Ok(answer)
}

/// The requests for tags, which name a table by its ARN.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagsRequest {
    resource_arn: Option<String>,
    tags: Option<Vec<Tag>>,
    tag_keys: Option<Vec<String>>,
}

/// Adds tags to a table, or replaces their values.
pub(super) async fn tag(kinesis: &Arc<Kinesis>, request: TagsRequest) -> Result<Json, Fault> {
    let tags: Vec<(String, String)> =
        request.tags.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect();
    let change = move |definition: &mut Definition| {
        let more = tags.iter().cloned().map(|(key, value)| Tag { key, value });
        put_tags(&mut definition.tags, more)
    };
    kinesis.leases.alter(table_name(request.resource_arn)?, change).await??;
    Ok(json!({}))
}

/// Takes tags from a table.
pub(super) async fn untag(kinesis: &Arc<Kinesis>, request: TagsRequest) -> Result<Json, Fault> {
    let keys = request.tag_keys.unwrap_or_default();
    let change = move |definition: &mut Definition| {
        definition.tags.retain(|(key, _)| !keys.contains(key));
        Ok(())
    };
    kinesis.leases.alter(table_name(request.resource_arn)?, change).await??;
    Ok(json!({}))
}

/// Answers the tags of a table.
pub(super) async fn tags(kinesis: &Arc<Kinesis>, request: TagsRequest) -> Result<Json, Fault> {
    let described = kinesis.leases.describe(table_name(request.resource_arn)?).await??;
    let tags = described.definition.tags;
    let tags: Json =
        tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": tags }))
}

/// UpdateTimeToLive's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ExpiryRequest {
    table_name: Option<String>,
    time_to_live_specification: Expiry,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Expiry {
    attribute_name: String,
    enabled: bool,
}

/// Keeps the attribute by which items would expire. They do not: who takes a lease looks at its times.
pub(super) async fn update_expiry(
    kinesis: &Arc<Kinesis>,
    request: ExpiryRequest,
) -> Result<Json, Fault> {
    let Expiry { attribute_name, enabled } = request.time_to_live_specification;
    let wanted = enabled.then(|| attribute_name.clone());
    let change = move |definition: &mut Definition| {
        definition.expires_by.clone_from(&wanted);
        Ok(())
    };
    kinesis.leases.alter(table_name(request.table_name)?, change).await??;
    let said = json!({ "AttributeName": attribute_name, "Enabled": enabled });
    Ok(json!({ "TimeToLiveSpecification": said }))
}

/// Answers it.
pub(super) async fn describe_expiry(
    kinesis: &Arc<Kinesis>,
    request: TableRequest,
) -> Result<Json, Fault> {
    let described = kinesis.leases.describe(table_name(request.table_name)?).await??;
    let said = match described.definition.expires_by {
        Some(name) => json!({ "AttributeName": name, "TimeToLiveStatus": "ENABLED" }),
        None => json!({ "TimeToLiveStatus": "DISABLED" }),
    };
    Ok(json!({ "TimeToLiveDescription": said }))
}
