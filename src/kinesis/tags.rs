//! Tags of streams, in both ways of the API, and of registered consumers.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use super::Kinesis;
use super::fault::Fault;
use super::fault::Findings;
use super::shape::Integer;
use super::shape::List;
use super::shape::Text;
use super::shape::Texts;
use super::target::checked_name;
use super::target::consumer_in_arn;
use super::target::live;
use crate::limits::STREAM_TAGS_MAX;
use crate::stream::ConsumerName;
use crate::stream::Refused;
use crate::stream::Tag;

const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// AddTagsToStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    tags: Option<Texts>,
}

/// TagResource's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddToResourceRequest {
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<Text>,
    tags: Option<Texts>,
}

/// RemoveTagsFromStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    tag_keys: Option<List<Text>>,
}

/// UntagResource's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveFromResourceRequest {
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<Text>,
    tag_keys: Option<List<Text>>,
}

/// ListTagsForStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfStreamRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    exclusive_start_tag_key: Option<Text>,
    limit: Option<Integer>,
}

/// ListTagsForResource's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfResourceRequest {
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<Text>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    key: String,
    value: String,
}

/// ListTagsForStream's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfStreamAnswer {
    tags: Vec<Written>,
    has_more_tags: bool,
}

/// ListTagsForResource's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfResourceAnswer {
    tags: Vec<Written>,
}

/// The tags of a request; what is wrong with them is noted.
pub(super) fn checked_tags(findings: &mut Findings, tags: Option<&Texts>) -> Vec<Tag> {
    let Some(Texts(list)) = tags else { return Vec::new() };
    if list.count > STREAM_TAGS_MAX {
        let value = format!("{{{} tags}}", list.count);
        let constraint = format!("have length less than or equal to {STREAM_TAGS_MAX}");
        findings.add(Some(&value), "tags", &constraint);
    }
    let mut checked = Vec::new();
    for (key, Text(value)) in list.items.iter().take(STREAM_TAGS_MAX) {
        findings.length(Some(key), "tags", 1, KEY_CHARS_MAX);
        findings.length(Some(value), &format!("tags.{key}.member"), 0, VALUE_CHARS_MAX);
        checked.push(Tag { key: key.clone(), value: value.clone() });
    }
    checked
}

fn checked_keys(findings: &mut Findings, keys: Option<&List<Text>>) -> Vec<String> {
    findings.needs(keys, "tagKeys");
    let Some(list) = keys else { return Vec::new() };
    if !(1..=STREAM_TAGS_MAX).contains(&list.count) {
        let value = format!("[{} keys]", list.count);
        let side = match list.count {
            0 => "greater than or equal to 1".to_owned(),
            _ => format!("less than or equal to {STREAM_TAGS_MAX}"),
        };
        findings.add(Some(&value), "tagKeys", &format!("have length {side}"));
    }
    let keys = list.items.iter().take(STREAM_TAGS_MAX).enumerate();
    keys.map(|(place, Text(key))| {
        findings.length(Some(key), &format!("tagKeys.{}.member", place + 1), 1, KEY_CHARS_MAX);
        key.clone()
    })
    .collect()
}

/// Adds tags to a stream, or replaces their values.
pub(super) async fn add(kinesis: &Arc<Kinesis>, request: AddRequest) -> Result<(), Fault> {
    let mut findings = Findings::default();
    findings.needs(request.tags.as_ref(), "tags");
    let tags = checked_tags(&mut findings, request.tags.as_ref());
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let tagged = kinesis.lineage.tag(name.clone(), tags).await?;
    tagged.map_err(|refused| match refused {
        Refused::Tags => Fault::invalid(format!(
            "Failed to add tags to stream {name} under account {} because a given stream cannot \
             have more than {STREAM_TAGS_MAX} tags associated with it.",
            kinesis.account_id
        )),
        refused => kinesis.refuse(&name, refused),
    })
}

/// The same for a stream or a registered consumer by its ARN.
pub(super) async fn add_to_resource(
    kinesis: &Arc<Kinesis>,
    request: AddToResourceRequest,
) -> Result<(), Fault> {
    let AddToResourceRequest { resource_arn, tags } = request;
    let Some(consumer) = checked_resource(resource_arn.as_ref())? else {
        return add(kinesis, AddRequest { stream_name: None, stream_arn: resource_arn, tags })
            .await;
    };
    let mut findings = Findings::default();
    findings.needs(tags.as_ref(), "tags");
    let tags = checked_tags(&mut findings, tags.as_ref());
    findings.finish()?;
    let stream = consumer.stream.clone();
    let tagged = kinesis.lineage.tag_consumer(consumer, tags).await?;
    tagged.map_err(|refused| kinesis.refuse(&stream, refused))
}

/// Takes tags from a stream.
pub(super) async fn remove(kinesis: &Arc<Kinesis>, request: RemoveRequest) -> Result<(), Fault> {
    let mut findings = Findings::default();
    let keys = checked_keys(&mut findings, request.tag_keys.as_ref());
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let untagged = kinesis.lineage.untag(name.clone(), keys).await?;
    untagged.map_err(|refused| kinesis.refuse(&name, refused))
}

/// The same for a stream or a registered consumer by its ARN.
pub(super) async fn remove_from_resource(
    kinesis: &Arc<Kinesis>,
    request: RemoveFromResourceRequest,
) -> Result<(), Fault> {
    let RemoveFromResourceRequest { resource_arn, tag_keys } = request;
    let Some(consumer) = checked_resource(resource_arn.as_ref())? else {
        let request = RemoveRequest { stream_name: None, stream_arn: resource_arn, tag_keys };
        return remove(kinesis, request).await;
    };
    let mut findings = Findings::default();
    let keys = checked_keys(&mut findings, tag_keys.as_ref());
    findings.finish()?;
    let stream = consumer.stream.clone();
    let untagged = kinesis.lineage.untag_consumer(consumer, keys).await?;
    untagged.map_err(|refused| kinesis.refuse(&stream, refused))
}

/// Checks the ARN of a stream or of a registered consumer; answers the consumer.
fn checked_resource(arn: Option<&Text>) -> Result<Option<ConsumerName>, Fault> {
    let consumer = arn.and_then(|arn| consumer_in_arn(&arn.0));
    if consumer.is_none() {
        let mut findings = Findings::default();
        findings.needs(arn, "resourceARN");
        findings.arn(arn, "resourceARN");
        findings.finish()?;
    }
    Ok(consumer)
}

/// Answers the tags of a stream, a page at a time.
pub(super) async fn of_stream(
    kinesis: &Arc<Kinesis>,
    request: OfStreamRequest,
) -> Result<OfStreamAnswer, Fault> {
    let mut findings = Findings::default();
    let limit = request.limit.map(|limit| limit.0);
    let most = i64::try_from(STREAM_TAGS_MAX).unwrap_or(i64::MAX);
    findings.range(limit, "limit", 1, most);
    let after = request.exclusive_start_tag_key.map(|key| key.0);
    findings.length(after.as_deref(), "exclusiveStartTagKey", 1, KEY_CHARS_MAX);
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let mut tags = tags(kinesis, name).await?;
    tags.retain(|tag| after.as_ref().is_none_or(|after| tag.key > *after));
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(STREAM_TAGS_MAX);
    let has_more_tags = tags.len() > limit;
    tags.truncate(limit);
    Ok(OfStreamAnswer { tags: written(tags), has_more_tags })
}

/// Answers all tags of a stream or a registered consumer by its ARN.
pub(super) async fn of_resource(
    kinesis: &Arc<Kinesis>,
    request: OfResourceRequest,
) -> Result<OfResourceAnswer, Fault> {
    if let Some(consumer) = checked_resource(request.resource_arn.as_ref())? {
        let this = Arc::clone(kinesis);
        let read = kinesis
            .pool
            .read(move |reader| Ok(reader.registered_tags(&this.consumer(reader, &consumer)?)?));
        return Ok(OfResourceAnswer { tags: written(read.await?) });
    }
    let name = checked_name(Findings::default(), None, request.resource_arn)?;
    Ok(OfResourceAnswer { tags: written(tags(kinesis, name).await?) })
}

async fn tags(kinesis: &Kinesis, name: String) -> Result<Vec<Tag>, Fault> {
    let account = kinesis.account_id.clone();
    kinesis.pool.read(move |reader| Ok(reader.tags(&live(reader, &name, &account)?)?)).await
}

fn written(tags: Vec<Tag>) -> Vec<Written> {
    tags.into_iter().map(|Tag { key, value }| Written { key, value }).collect()
}
