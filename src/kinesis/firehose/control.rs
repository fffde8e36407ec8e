//! Making, describing, changing and deleting delivery streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use super::super::Kinesis;
use super::super::answer::Time;
use super::super::fault::Fault;
use super::super::fault::Findings;
use super::super::shape::Flag;
use super::super::shape::Integer;
use super::super::shape::List;
use super::super::shape::Text;
use super::checked_name;
use super::destination;
use super::destination::DESTINATION_ID;
use crate::clock::Timestamp;
use crate::delivery::MadeDelivery;
use crate::delivery::NotMade;
use crate::limits::STREAM_TAGS_MAX;

const ENCRYPTION: &str = "This gateway has no encryption of delivery streams.";

/// CreateDeliveryStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRequest {
    delivery_stream_name: Option<Text>,
    delivery_stream_type: Option<Text>,
    delivery_stream_encryption_configuration_input: Option<Map<String, Json>>,
    tags: Option<List<Tag>>,
    extended_s3_destination_configuration: Option<Map<String, Json>>,
    s3_destination_configuration: Option<Map<String, Json>>,
    /// Everything else that there is: destinations and sources.
    #[serde(flatten)]
    others: Map<String, Json>,
}

/// UpdateDestination's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateRequest {
    delivery_stream_name: Option<Text>,
    current_delivery_stream_version_id: Option<Text>,
    destination_id: Option<Text>,
    extended_s3_destination_update: Option<Map<String, Json>>,
    s3_destination_update: Option<Map<String, Json>>,
    #[serde(flatten)]
    others: Map<String, Json>,
}

/// DescribeDeliveryStream's and StopDeliveryStreamEncryption's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NameRequest {
    delivery_stream_name: Option<Text>,
}

/// DeleteDeliveryStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteRequest {
    delivery_stream_name: Option<Text>,
    #[serde(rename = "AllowForceDelete")]
    _force: Option<Flag>,
}

/// ListDeliveryStreams' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRequest {
    limit: Option<Integer>,
    delivery_stream_type: Option<Text>,
    exclusive_start_delivery_stream_name: Option<Text>,
}

/// ListTagsForDeliveryStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagsRequest {
    delivery_stream_name: Option<Text>,
    exclusive_start_tag_key: Option<Text>,
    limit: Option<Integer>,
}

/// TagDeliveryStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagRequest {
    delivery_stream_name: Option<Text>,
    tags: Option<List<Tag>>,
}

/// UntagDeliveryStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagRequest {
    delivery_stream_name: Option<Text>,
    tag_keys: Option<List<Text>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<Text>,
    value: Option<Text>,
}

/// Tags of a request; what is wrong with them is noted.
fn checked_tags(findings: &mut Findings, tags: Option<List<Tag>>) -> BTreeMap<String, String> {
    let mut checked = BTreeMap::new();
    let Some(List { items, count }) = tags else { return checked };
    if count > STREAM_TAGS_MAX {
        let constraint = format!("have length less than or equal to {STREAM_TAGS_MAX}");
        findings.add(Some(&format!("[{count} tags]")), "tags", &constraint);
    }
    for (place, Tag { key, value }) in items.into_iter().enumerate() {
        let member = |name: &str| format!("tags.{}.member.{name}", place + 1);
        findings.needs(key.as_ref(), &member("key"));
        let (key, value) = (key.map(|key| key.0), value.map(|value| value.0));
        findings.length(key.as_deref(), &member("key"), 1, 128);
        findings.length(value.as_deref(), &member("value"), 0, 256);
        checked.insert(key.unwrap_or_default(), value.unwrap_or_default());
    }
    checked
}

/// The one destination of a request that names it in either way, or in one that is not done here.
fn one_destination(
    extended: Option<Map<String, Json>>,
    simple: Option<Map<String, Json>>,
    others: &Map<String, Json>,
) -> Result<Map<String, Json>, Fault> {
    let other = others.keys().find(|name| name.contains("Destination") || name.contains("Source"));
    if let Some(other) = other {
        let message = format!("{other} is not supported by this gateway: it delivers to buckets.");
        return Err(Fault::invalid(message));
    }
    match (extended, simple) {
        (Some(given), None) | (None, Some(given)) => Ok(given),
        _ => Err(Fault::invalid("Exactly one destination configuration must be supplied.")),
    }
}

/// Makes a delivery stream.
pub(super) async fn create(kinesis: &Arc<Kinesis>, request: CreateRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    let tags = checked_tags(&mut findings, request.tags);
    let kind = request.delivery_stream_type.map(|kind| kind.0);
    let kinds = ["DirectPut", "KinesisStreamAsSource", "MSKAsSource", "DatabaseAsSource"];
    findings.word(kind.as_deref(), "deliveryStreamType", &kinds);
    let name = checked_name(findings, request.delivery_stream_name)?;
    if kind.is_some_and(|kind| kind != "DirectPut") {
        return Err(Fault::invalid("A delivery stream of this gateway has the type DirectPut."));
    }
    if request.delivery_stream_encryption_configuration_input.is_some() {
        return Err(Fault::invalid(ENCRYPTION));
    }
    let given = one_destination(
        request.extended_s3_destination_configuration,
        request.s3_destination_configuration,
        &request.others,
    )?;
    let destination = destination::merged(None, given);
    let config = destination::settings(&destination, &kinesis.buckets).map_err(Fault::invalid)?;
    let destination = Json::Object(destination).to_string();
    let made = kinesis.made().create(name.clone(), destination, tags, config).await;
    made.map_err(|not_made| kinesis.not_made(&name, not_made))?;
    Ok(json!({"DeliveryStreamARN": arn(kinesis, &name)}))
}

fn arn(kinesis: &Kinesis, name: &str) -> String {
    let (region, account) = (&kinesis.region, &kinesis.account_id);
    format!("arn:aws:firehose:{region}:{account}:deliverystream/{name}")
}

/// Gives a delivery stream another destination, or the one that it has other settings.
pub(super) async fn update(kinesis: &Arc<Kinesis>, request: UpdateRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    let version = request.current_delivery_stream_version_id.map(|version| version.0);
    findings.needs(version.as_ref(), "currentDeliveryStreamVersionId");
    let id = request.destination_id.map(|id| id.0);
    findings.needs(id.as_ref(), "destinationId");
    let name = checked_name(findings, request.delivery_stream_name)?;
    let not_made = |not_made| kinesis.not_made(&name, not_made);
    let Some(made) = kinesis.made().find(&name) else {
        let is_declared = kinesis.made().accounts().is_declared(&name);
        return Err(not_made(if is_declared { NotMade::Declared } else { NotMade::Unknown }));
    };
    if id.is_some_and(|id| id != DESTINATION_ID) {
        let message = format!("Firehose {name} has the destination {DESTINATION_ID}.");
        return Err(Fault::invalid(message));
    }
    let given = one_destination(
        request.extended_s3_destination_update,
        request.s3_destination_update,
        &request.others,
    )?;
    let before = members_of(&made);
    let destination = destination::merged(Some(before.clone()), given);
    let config = destination::settings(&destination, &kinesis.buckets).map_err(Fault::invalid)?;
    let had = destination::settings(&before, &kinesis.buckets).map_err(Fault::invalid)?;
    if had.partition_keys.is_empty() != config.partition_keys.is_empty() {
        let message = "Dynamic partitioning is chosen when a delivery stream is created.";
        return Err(Fault::invalid(message));
    }
    let wanted = version.and_then(|version| version.parse().ok());
    let wanted = wanted.ok_or_else(|| not_made(NotMade::Changed(made.version)))?;
    let destination = Json::Object(destination).to_string();
    kinesis.made().update(&name, wanted, destination, config).await.map_err(not_made)?;
    Ok(json!({}))
}

/// What was asked for.
fn members_of(made: &MadeDelivery) -> Map<String, Json> {
    serde_json::from_str(&made.destination).unwrap_or_default()
}

/// Ends a delivery stream: what waits is delivered first.
pub(super) async fn delete(kinesis: &Arc<Kinesis>, request: DeleteRequest) -> Result<Json, Fault> {
    let name = checked_name(Findings::default(), request.delivery_stream_name)?;
    let deleted = kinesis.made().delete(&name).await;
    deleted.map_err(|not_made| kinesis.not_made(&name, not_made))?;
    Ok(json!({}))
}

/// Describes a delivery stream.
pub(super) async fn describe(kinesis: &Arc<Kinesis>, request: NameRequest) -> Result<Json, Fault> {
    let name = checked_name(Findings::default(), request.delivery_stream_name)?;
    let (made, accounts) = (kinesis.made(), kinesis.made().accounts());
    let (members, version, status, created, updated) = match made.find(&name) {
        Some(made) => {
            let status = if made.is_ending { "DELETING" } else { "ACTIVE" };
            let (created, updated) = (made.created_at, Some(made.updated_at));
            (members_of(&made), made.version, status, created, updated)
        }
        None if accounts.is_declared(&name) => {
            let config = accounts.settings(&name);
            let members = destination::of_declared(&name, &config, &kinesis.account_id);
            (members, 1, "ACTIVE", Timestamp::EPOCH, None)
        }
        None => return Err(kinesis.not_made(&name, NotMade::Unknown)),
    };
    let mut described = json!({
        "DeliveryStreamName": name,
        "DeliveryStreamARN": arn(kinesis, &name),
        "DeliveryStreamStatus": status,
        "DeliveryStreamEncryptionConfiguration": {"Status": "DISABLED"},
        "DeliveryStreamType": "DirectPut",
        "VersionId": version.to_string(),
        "CreateTimestamp": Time(created),
        "Destinations": destination::described(members),
        "HasMoreDestinations": false,
    });
    if let Some(updated) = updated.filter(|updated| *updated != created) {
        described["LastUpdateTimestamp"] = json!(Time(updated));
    }
    Ok(json!({"DeliveryStreamDescription": described}))
}

/// Lists delivery streams by their names.
pub(super) async fn list(kinesis: &Arc<Kinesis>, request: ListRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    let limit = request.limit.map(|limit| limit.0);
    findings.range(limit, "limit", 1, 10_000);
    findings.finish()?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
    let made = kinesis.made();
    let mut names = made.accounts().declared();
    names.extend(made.list().into_iter().map(|made| made.name));
    // Each is of this type.
    if request.delivery_stream_type.is_some_and(|kind| kind.0 != "DirectPut") {
        names.clear();
    }
    let after = request.exclusive_start_delivery_stream_name.map(|name| name.0);
    names.retain(|name| after.as_ref().is_none_or(|after| name > after));
    names.sort_unstable();
    names.dedup();
    let has_more = names.len() > limit;
    names.truncate(limit);
    Ok(json!({"DeliveryStreamNames": names, "HasMoreDeliveryStreams": has_more}))
}

/// Gives a delivery stream tags.
pub(super) async fn tag(kinesis: &Arc<Kinesis>, request: TagRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    findings.needs(request.tags.as_ref(), "tags");
    let tags = checked_tags(&mut findings, request.tags);
    let name = checked_name(findings, request.delivery_stream_name)?;
    let tagged = kinesis.made().tag(&name, |all| all.extend(tags)).await;
    tagged.map_err(|not_made| kinesis.not_made(&name, not_made))?;
    Ok(json!({}))
}

/// Takes tags from a delivery stream.
pub(super) async fn untag(kinesis: &Arc<Kinesis>, request: UntagRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    findings.needs(request.tag_keys.as_ref(), "tagKeys");
    let name = checked_name(findings, request.delivery_stream_name)?;
    let keys = request.tag_keys.map(|keys| keys.items).unwrap_or_default();
    let untag = |all: &mut BTreeMap<String, String>| {
        all.retain(|key, _| !keys.iter().any(|gone| gone.0 == *key));
    };
    let untagged = kinesis.made().tag(&name, untag).await;
    untagged.map_err(|not_made| kinesis.not_made(&name, not_made))?;
    Ok(json!({}))
}

/// The tags of a delivery stream.
pub(super) async fn tags(kinesis: &Arc<Kinesis>, request: TagsRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    let limit = request.limit.map(|limit| limit.0);
    let most = i64::try_from(STREAM_TAGS_MAX).unwrap_or(i64::MAX);
    findings.range(limit, "limit", 1, most);
    let name = checked_name(findings, request.delivery_stream_name)?;
    let tags = match kinesis.made().find(&name) {
        Some(made) => made.tags,
        None if kinesis.made().accounts().is_declared(&name) => BTreeMap::new(),
        None => return Err(kinesis.not_made(&name, NotMade::Unknown)),
    };
    let after = request.exclusive_start_tag_key.map(|key| key.0);
    let mut tags: Vec<Json> = tags
        .into_iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(STREAM_TAGS_MAX);
    let has_more = tags.len() > limit;
    tags.truncate(limit);
    Ok(json!({"Tags": tags, "HasMoreTags": has_more}))
}

/// Refuses to encrypt.
pub(super) async fn start_encryption(
    kinesis: &Arc<Kinesis>,
    request: NameRequest,
) -> Result<Json, Fault> {
    describe(kinesis, request).await?;
    Err(Fault::invalid(ENCRYPTION))
}

/// There is none to be stopped.
pub(super) async fn stop_encryption(
    kinesis: &Arc<Kinesis>,
    request: NameRequest,
) -> Result<Json, Fault> {
    describe(kinesis, request).await?;
    Ok(json!({}))
}
