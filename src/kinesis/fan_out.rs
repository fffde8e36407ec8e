//! RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer and ListStreamConsumers.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use super::Kinesis;
use super::answer;
use super::describe::page_size;
use super::fault::Fault;
use super::fault::Findings;
use super::shape::Integer;
use super::shape::Text;
use super::shape::Texts;
use super::shape::Time;
use super::tags::checked_tags;
use super::target::consumer_in_arn;
use super::target::live;
use super::target::no_stream;
use super::target::stream_name;
use super::token::NextPage;
use crate::limits::KINESIS_LISTED_DEFAULT;
use crate::stream::ConsumerName;
use crate::stream::Reader;
use crate::stream::Refused;
use crate::stream::Registered;

/// Asks for at most so many in a list.
const LIMIT_MAX: i64 = 10_000;
/// What begins a next token of ListStreamConsumers.
const CONSUMERS: &str = "consumers";

/// RegisterStreamConsumer's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RegisterRequest {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    consumer_name: Option<Text>,
    tags: Option<Texts>,
}

/// `Consumer`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Consumer {
    consumer_name: String,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    consumer_status: &'static str,
    consumer_creation_timestamp: answer::Time,
}

impl Consumer {
    fn of(kinesis: &Kinesis, stream: &str, consumer: Registered, status: &'static str) -> Consumer {
        Consumer {
            consumer_arn: kinesis.consumer_arn_of(stream, &consumer),
            consumer_name: consumer.name,
            consumer_status: status,
            consumer_creation_timestamp: answer::Time(consumer.created_at),
        }
    }
}

/// RegisterStreamConsumer's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RegisterAnswer {
    consumer: Consumer,
}

/// Registers a consumer. The answer says CREATING, as AWS's does; who asks then finds it ACTIVE.
pub(super) async fn register(
    kinesis: &Arc<Kinesis>,
    request: RegisterRequest,
) -> Result<RegisterAnswer, Fault> {
    let mut findings = Findings::default();
    let (arn, name) = (request.stream_arn, request.consumer_name);
    findings.needs(arn.as_ref(), "streamARN");
    findings.arn(arn.as_ref(), "streamARN");
    findings.needs(name.as_ref(), "consumerName");
    findings.name(name.as_ref(), "consumerName");
    let tags = checked_tags(&mut findings, request.tags.as_ref());
    findings.finish()?;
    let stream = stream_name(None, arn)?;
    let name = name.map(|name| name.0).unwrap_or_default();
    let registered = kinesis.lineage.register(stream.clone(), name, tags).await?;
    let registered = registered.map_err(|refused| kinesis.refuse(&stream, refused))?;
    Ok(RegisterAnswer { consumer: Consumer::of(kinesis, &stream, registered, "CREATING") })
}

/// DeregisterStreamConsumer's and DescribeStreamConsumer's request: by the consumer's ARN, or by the stream's and a
/// name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConsumerRequest {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    consumer_name: Option<Text>,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<Text>,
}

impl ConsumerRequest {
    /// The consumer that it means.
    fn checked(self) -> Result<ConsumerName, Fault> {
        let mut findings = Findings::default();
        findings.arn(self.stream_arn.as_ref(), "streamARN");
        findings.name(self.consumer_name.as_ref(), "consumerName");
        findings.consumer_arn(self.consumer_arn.as_ref());
        findings.finish()?;
        match (self.stream_arn, self.consumer_name, self.consumer_arn) {
            (None, None, Some(Text(arn))) => {
                consumer_in_arn(&arn).ok_or(Fault::invalid("Invalid ConsumerARN."))
            }
            (Some(arn), Some(Text(consumer)), None) => {
                let stream = stream_name(None, Some(arn))?;
                Ok(ConsumerName { stream, consumer, created_secs: None })
            }
            _ => Err(Fault::invalid(
                "Invalid input. You must specify either ConsumerARN or StreamARN and ConsumerName, \
                 and not both.",
            )),
        }
    }
}

/// Ends a consumer. It is gone when this is answered, and its subscriptions end.
pub(super) async fn deregister(
    kinesis: &Arc<Kinesis>,
    request: ConsumerRequest,
) -> Result<(), Fault> {
    let name = request.checked()?;
    let stream = name.stream.clone();
    let ended = kinesis.lineage.deregister(name).await?;
    ended.map_err(|refused| kinesis.refuse(&stream, refused))
}

/// DescribeStreamConsumer's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConsumerAnswer {
    consumer_description: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(flatten)]
    consumer: Consumer,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

/// Answers a consumer.
pub(super) async fn describe(
    kinesis: &Arc<Kinesis>,
    request: ConsumerRequest,
) -> Result<ConsumerAnswer, Fault> {
    let name = request.checked()?;
    let this = Arc::clone(kinesis);
    let read = kinesis.pool.read(move |reader| {
        let found = this.consumer(reader, &name)?;
        let consumer = Consumer::of(&this, &name.stream, found, "ACTIVE");
        let stream_arn = this.arn_of(&name.stream);
        Ok(ConsumerAnswer { consumer_description: Description { consumer, stream_arn } })
    });
    read.await
}

impl Kinesis {
    /// The consumer of a name.
    pub(super) fn consumer(
        &self,
        reader: &Reader,
        name: &ConsumerName,
    ) -> Result<Registered, Fault> {
        let described = live(reader, &name.stream, &self.account_id)?;
        let found = reader.registered(&described, &name.consumer)?;
        let is_meant =
            |found: &Registered| name.created_secs.is_none_or(|at| at == found.created_secs());
        found
            .filter(is_meant)
            .ok_or_else(|| self.refuse(&name.stream, Refused::NoConsumer(name.consumer.clone())))
    }
}

/// ListStreamConsumers' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRequest {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    next_token: Option<Text>,
    max_results: Option<Integer>,
    stream_creation_timestamp: Option<Time>,
}

/// ListStreamConsumers' answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAnswer {
    consumers: Vec<Consumer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Answers the consumers of a stream, a page at a time.
pub(super) async fn list(
    kinesis: &Arc<Kinesis>,
    request: ListRequest,
) -> Result<ListAnswer, Fault> {
    let mut findings = Findings::default();
    findings.needs(request.stream_arn.as_ref(), "streamARN");
    findings.arn(request.stream_arn.as_ref(), "streamARN");
    let limit = request.max_results.map(|limit| limit.0);
    findings.range(limit, "maxResults", 1, LIMIT_MAX);
    findings.finish()?;
    let stream = stream_name(None, request.stream_arn)?;
    let now = kinesis.clock.now();
    let of = format!("{CONSUMERS} {stream}");
    let after = match request.next_token {
        Some(Text(token)) => {
            let page = NextPage::parse(&token, now)?;
            let is_mine = page.of == of;
            Some(is_mine.then_some(page.after).ok_or(Fault::invalid("Invalid NextToken."))?)
        }
        None => None,
    };
    let created_at = request.stream_creation_timestamp.map(|time| time.0);
    let limit = page_size(limit, KINESIS_LISTED_DEFAULT);
    let this = Arc::clone(kinesis);
    let read = kinesis.pool.read(move |reader| {
        let found = live(reader, &stream, &this.account_id)?;
        if created_at.is_some_and(|at| !found.is_created_in_second_of(at)) {
            return Err(no_stream(&stream, &this.account_id));
        }
        // One more tells whether there is a next page.
        let mut page = reader.registered_after(&found, after.as_deref(), limit + 1)?;
        let has_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| has_more);
        let next_token = next.map(|last| NextPage { of, after: last.name.clone() }.issue(now));
        let consumer = |found| Consumer::of(&this, &stream, found, "ACTIVE");
        Ok(ListAnswer { consumers: page.into_iter().map(consumer).collect(), next_token })
    });
    read.await
}
