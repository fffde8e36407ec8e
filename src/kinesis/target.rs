//! Which stream and which shard a request means, and what is said of them when it goes wrong.

use super::Kinesis;
use super::fault::Fault;
use super::fault::Findings;
use super::fault::shortened;
use super::shape::Text;
use crate::limits;
use crate::stream::ConsumerName;
use crate::stream::Described;
use crate::stream::Reader;
use crate::stream::Refused;
use crate::stream::Registered;
use crate::stream::ShardId;
use crate::stream::check_name;

const NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";
const ARN_PATTERN: &str = r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+";
const CONSUMER_ARN_PATTERN: &str =
    r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+";
const HASH_KEY_PATTERN: &str = r"0|([1-9]\d{0,38})";
const SEQUENCE_PATTERN: &str = r"0|([1-9]\d{0,128})";

/// Of an ARN: the name of the stream. Partition, region and account may be any: programs that were made for a
/// stream elsewhere work with nothing changed but the endpoint.
fn name_in_arn(arn: &str) -> Option<&str> {
    resource_in_arn(arn).filter(|name| check_name(name).is_ok())
}

/// What an ARN of Kinesis says behind `stream/`.
fn resource_in_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_arn = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("kinesis");
    let (_region, account) = (parts.next()?, parts.next()?);
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let resource = parts.next()?.strip_prefix("stream/")?;
    (is_arn && is_account).then_some(resource)
}

/// The consumer of a consumer's ARN: `…:stream/NAME/consumer/NAME:SECONDS`.
pub(super) fn consumer_in_arn(arn: &str) -> Option<ConsumerName> {
    let (stream, rest) = resource_in_arn(arn)?.split_once("/consumer/")?;
    let (consumer, created) = rest.rsplit_once(':')?;
    let is_named = check_name(stream).is_ok() && check_name(consumer).is_ok();
    let created_secs = created.bytes().all(|b| b.is_ascii_digit()).then(|| created.parse().ok())?;
    let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
    (is_named && created_secs.is_some()).then_some(ConsumerName { stream, consumer, created_secs })
}

/// Whether a text is a number without a sign and without zeros before it, of at most `digits_max`.
fn is_number(text: &str, digits_max: usize) -> bool {
    let is_plain = text == "0" || !text.starts_with('0');
    let is_long = text.is_empty() || text.len() > digits_max;
    is_plain && !is_long && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Findings {
    /// `StreamName`
    pub(super) fn stream_name(&mut self, name: Option<&Text>) {
        self.name(name, "streamName");
    }

    /// `StreamName`, `ConsumerName` and their like.
    pub(super) fn name(&mut self, name: Option<&Text>, member: &str) {
        let name = name.map(|name| &*name.0);
        self.length(name, member, 1, limits::TARGET_NAME_BYTES_MAX);
        let is_name = |name: &str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
                && !name.is_empty()
        };
        self.form(name, member, NAME_PATTERN, is_name);
    }

    /// `ConsumerARN`
    pub(super) fn consumer_arn(&mut self, arn: Option<&Text>) {
        let arn = arn.map(|arn| &*arn.0);
        self.length(arn, "consumerARN", 1, 2048);
        let is_arn = |arn: &str| consumer_in_arn(arn).is_some();
        self.form(arn, "consumerARN", CONSUMER_ARN_PATTERN, is_arn);
    }

    /// `StreamARN` and its like.
    pub(super) fn arn(&mut self, arn: Option<&Text>, member: &str) {
        let arn = arn.map(|arn| &*arn.0);
        self.length(arn, member, 1, 2048);
        self.form(arn, member, ARN_PATTERN, |arn| name_in_arn(arn).is_some());
    }

    /// A hash key as a decimal.
    pub(super) fn hash_key(&mut self, key: Option<&Text>, member: &str) {
        let key = key.map(|key| &*key.0);
        self.form(key, member, HASH_KEY_PATTERN, |key| is_number(key, 39));
    }

    /// A sequence number as a decimal.
    pub(super) fn sequence_number(&mut self, number: Option<&Text>, member: &str) {
        let number = number.map(|number| &*number.0);
        self.form(number, member, SEQUENCE_PATTERN, |number| is_number(number, 129));
    }

    /// `ShardId` and its like.
    pub(super) fn shard_id(&mut self, shard: Option<&Text>, member: &str) {
        let shard = shard.map(|shard| &*shard.0);
        self.length(shard, member, 1, limits::TARGET_NAME_BYTES_MAX);
        let is_name = |shard: &str| check_name(shard).is_ok() || shard.len() > 128;
        self.form(shard, member, NAME_PATTERN, is_name);
    }
}

/// The name of the stream that a request means: by name, by ARN, or by both. Checked before.
pub(super) fn stream_name(name: Option<Text>, arn: Option<Text>) -> Result<String, Fault> {
    let of_arn = arn.as_ref().and_then(|arn| name_in_arn(&arn.0)).map(str::to_owned);
    match (name, of_arn) {
        (Some(Text(name)), Some(of_arn)) if name != of_arn => {
            Err(Fault::invalid(format!("StreamARN is not that of the stream {name}.")))
        }
        (Some(Text(name)), _) => Ok(name),
        (None, Some(name)) => Ok(name),
        (None, None) => {
            Err(Fault::invalid("Missing StreamName or StreamARN: one of them is required."))
        }
    }
}

/// Checks name and ARN, and answers the stream that they mean.
pub(super) fn checked_name(
    mut findings: Findings,
    name: Option<Text>,
    arn: Option<Text>,
) -> Result<String, Fault> {
    findings.stream_name(name.as_ref());
    findings.arn(arn.as_ref(), "streamARN");
    findings.finish()?;
    stream_name(name, arn)
}

/// A shard by its id; Kinesis takes `shardId-3` and `3` for `shardId-000000000003`.
pub(super) fn shard_id(text: &str) -> Option<ShardId> {
    let digits = text.strip_prefix("shardId-").unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten().map(ShardId)
}

impl Kinesis {
    pub(super) fn arn_of(&self, stream: &str) -> String {
        format!("arn:aws:kinesis:{}:{}:stream/{stream}", self.region, self.account_id)
    }

    pub(super) fn consumer_arn_of(&self, stream: &str, consumer: &Registered) -> String {
        let (name, created) = (&consumer.name, consumer.created_secs());
        format!("{}/consumer/{name}:{created}", self.arn_of(stream))
    }

    pub(super) fn no_stream(&self, stream: &str) -> Fault {
        no_stream(stream, &self.account_id)
    }

    /// In AWS's words why a stream was not changed.
    pub(super) fn refuse(&self, stream: &str, refused: Refused) -> Fault {
        let account = &self.account_id;
        let of = format!("in stream {stream} under account {account}");
        match refused {
            Refused::Unknown => self.no_stream(stream),
            Refused::Exists => {
                Fault::in_use(format!("Stream {stream} under account {account} already exists."))
            }
            Refused::Deleting => Fault::in_use(format!(
                "Stream {stream} under account {account} not ACTIVE, instead in state DELETING"
            )),
            Refused::Read(rule) => Fault::in_use(format!(
                "Stream {stream} under account {account} is read by the rule {rule}."
            )),
            Refused::Streams | Refused::Shards => Fault::too_many(format!(
                "This request would exceed the limit of the account {account}: {refused}."
            )),
            Refused::UnknownShard(shard) => {
                Fault::not_found(format!("Could not find shard {shard} {of}."))
            }
            Refused::Closed(shard) => Fault::in_use(format!(
                "Shard {shard} {of} has already been merged or split, and thus is not eligible for \
                 merging or splitting."
            )),
            Refused::Outside(shard) => Fault::invalid(format!(
                "NewStartingHashKey used in SplitShard() on shard {shard} {of} is not both greater \
                 than one plus the shard's StartingHashKey and less than the shard's EndingHashKey."
            )),
            Refused::Apart(first, second) => Fault::invalid(format!(
                "Shards {first} and {second} {of} are not an adjacent pair of shards eligible for \
                 merging"
            )),
            Refused::OnDemand => Fault::new(
                "ValidationException",
                format!(
                    "Request is invalid. Stream {stream} under account {account} is in On-Demand \
                     mode."
                ),
            ),
            Refused::Registered(consumer) => Fault::in_use(format!(
                "Consumer {consumer} under stream {stream} already exists for account {account}."
            )),
            Refused::NoConsumer(consumer) => Fault::not_found(format!(
                "Consumer {consumer} under stream {stream} not found for account {account}."
            )),
            Refused::Consumers => Fault::too_many(format!(
                "Stream {stream} under account {account}: {refused}. Deregister one first."
            )),
            Refused::Consumed(_) => Fault::in_use(format!(
                "Stream {stream} under account {account} has consumers registered. Deregister them \
                 first, or set EnforceConsumerDeletion."
            )),
            Refused::Scale(_) | Refused::Retention(_) | Refused::Tags => {
                Fault::invalid(format!("Stream {stream} under account {account}: {refused}."))
            }
        }
    }
}

pub(super) fn no_stream(stream: &str, account: &str) -> Fault {
    let stream = shortened(stream);
    Fault::not_found(format!("Stream {stream} under account {account} not found."))
}

/// A stream that is read or described as one that is there.
pub(super) fn live(reader: &Reader, stream: &str, account: &str) -> Result<Described, Fault> {
    let found = reader.describe(stream)?.filter(|stream| !stream.is_deleting);
    found.ok_or_else(|| no_stream(stream, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_meant_by_name_or_by_an_arn_of_any_account() {
        let text = |text: &str| Some(Text(text.to_owned()));
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/a.b-C_1";
        let named = |name, arn| checked_name(Findings::default(), name, arn);
        assert_eq!(named(None, text(arn)).unwrap(), "a.b-C_1");
        assert_eq!(named(text("a.b-C_1"), text(arn)).unwrap(), "a.b-C_1");
        assert_eq!(named(text("other"), text(arn)).unwrap_err().kind, "InvalidArgumentException");
        assert_eq!(named(None, None).unwrap_err().kind, "InvalidArgumentException");
        for wrong in [
            "arn:aws:kinesis:eu-west-1:12345678901:stream/a",
            "arn:aws:firehose:eu-west-1:123456789012:stream/a",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/a b",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "x",
            "",
        ] {
            assert_eq!(
                named(None, text(wrong)).unwrap_err().kind,
                "ValidationException",
                "{wrong}"
            );
        }
        let fault = named(text("a b"), None).unwrap_err();
        assert_eq!(
            fault.message,
            "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
    }

    #[test]
    fn consumers_are_meant_by_arns_with_their_second() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/s.1/consumer/c-2:1700000000";
        let found = consumer_in_arn(arn).unwrap();
        assert_eq!((&*found.stream, &*found.consumer), ("s.1", "c-2"));
        assert_eq!(found.created_secs, Some(1_700_000_000));
        assert_eq!(name_in_arn(arn), None, "it is no stream's");
        for wrong in ["c", "c:", "c:-1", "c:x", "c/d:1", ":1", "c:99999999999999999999"] {
            let arn = format!("arn:aws:kinesis:eu-west-1:123456789012:stream/s/consumer/{wrong}");
            assert_eq!(consumer_in_arn(&arn), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_and_shards_are_what_the_model_says() {
        for (text, is) in
            [("0", true), ("10", true), ("", false), ("01", false), ("-1", false), ("1a", false)]
        {
            assert_eq!(is_number(text, 39), is, "{text}");
        }
        assert!(is_number(&"9".repeat(39), 39) && !is_number(&"9".repeat(40), 39));
        for text in ["shardId-000000000003", "shardId-3", "3"] {
            assert_eq!(shard_id(text), Some(ShardId(3)));
        }
        for text in ["", "shardId-", "shardId-x", "shardId-99999999999", "-3"] {
            assert_eq!(shard_id(text), None, "{text}");
        }
    }
}
