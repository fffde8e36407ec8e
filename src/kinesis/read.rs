//! GetShardIterator and GetRecords.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::Given;
use super::Kinesis;
use super::answer;
use super::answer::Blob;
use super::answer::ChildShard;
use super::answer::Spelled;
use super::encryption::KMS;
use super::fault::Fault;
use super::fault::Findings;
use super::fault::shortened;
use super::metrics::Way;
use super::put::exceeded;
use super::shape::Format;
use super::shape::Integer;
use super::shape::Text;
use super::shape::Time;
use super::target::live;
use super::target::shard_id;
use super::target::stream_name;
use super::token::ShardIterator;
use super::wire::Answer;
use crate::clock::Timestamp;
use crate::limits::KINESIS_ANSWER_BYTES_MAX;
use crate::limits::KINESIS_PAGE_BYTES_MAX;
use crate::limits::KINESIS_PAGE_RECORDS_MAX;
use crate::limits::SHARD_RATES_MAX;
use crate::limits::STREAM_TURN_DAMAGED_MAX;
use crate::stream::Allowance;
use crate::stream::Amount;
use crate::stream::Cursor;
use crate::stream::Page;
use crate::stream::Reader;
use crate::stream::Record;
use crate::stream::SequenceNumber;
use crate::stream::ShardId;
use crate::stream::StartAt;
use crate::stream::StreamError;

/// Where reading may begin.
pub(super) const START_TYPES: [&str; 5] =
    ["AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"];

/// GetShardIterator's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IteratorRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    shard_id: Option<Text>,
    shard_iterator_type: Option<Text>,
    starting_sequence_number: Option<Text>,
    timestamp: Option<Time>,
}

/// GetShardIterator's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IteratorAnswer {
    shard_iterator: String,
}

/// GetRecords' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecordsRequest {
    shard_iterator: Option<Text>,
    limit: Option<Integer>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsAnswer {
    records: Vec<RecordAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    child_shards: Vec<ChildShard>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecordAnswer {
    sequence_number: Spelled<SequenceNumber>,
    approximate_arrival_timestamp: answer::Time,
    data: Blob,
    partition_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

impl RecordAnswer {
    pub(super) fn of(record: Record) -> RecordAnswer {
        RecordAnswer {
            sequence_number: Spelled(record.sequence_number),
            approximate_arrival_timestamp: answer::Time(record.at),
            data: Blob(record.data),
            partition_key: record.partition_key.into_string(),
            encryption_type: record.is_encrypted.then_some(KMS),
        }
    }
}

/// Answers a place in a shard.
pub(super) async fn iterator(
    kinesis: &Arc<Kinesis>,
    request: IteratorRequest,
) -> Result<IteratorAnswer, Fault> {
    let mut findings = Findings::default();
    let IteratorRequest { shard_id: shard, shard_iterator_type: kind, .. } = &request;
    findings.needs(kind.as_ref(), "shardIteratorType");
    findings.word(kind.as_ref().map(|kind| &*kind.0), "shardIteratorType", &START_TYPES);
    findings.needs(shard.as_ref(), "shardId");
    findings.shard_id(shard.as_ref(), "shardId");
    findings.sequence_number(request.starting_sequence_number.as_ref(), "startingSequenceNumber");
    findings.stream_name(request.stream_name.as_ref());
    findings.arn(request.stream_arn.as_ref(), "streamARN");
    findings.finish()?;
    let stream = stream_name(request.stream_name, request.stream_arn)?;
    let shard = request.shard_id.map(|shard| shard.0).unwrap_or_default();
    let kind = request.shard_iterator_type.map(|kind| kind.0).unwrap_or_default();
    let number = request.starting_sequence_number.map(|number| number.0);
    let (now, this) = (kinesis.clock.now(), Arc::clone(kinesis));
    let place = kinesis.pool.read(move |reader| {
        let account = &this.account_id;
        let described = live(reader, &stream, account)?;
        let of = format!("in stream {stream} under account {account}");
        let found = match shard_id(&shard) {
            Some(id) => reader.shard_entry(&described, id)?,
            None => None,
        };
        let Some(entry) = found else {
            let shard = shortened(&shard);
            return Err(Fault::not_found(format!("Shard {shard} {of} does not exist")));
        };
        if described.is_limited {
            this.admit_read(&stream, entry.id, now, |given| &mut given.places)?;
        }
        let call = format!("GetShardIterator on shard {shard} {of}");
        let start = start_at(&kind, number, request.timestamp, now, &call)?;
        let cursor = reader.cursor_in(&entry, start);
        let cursor = cursor.map_err(|error| foreign(error, &call))?;
        Ok(ShardIterator { stream, place: cursor.bookmark() })
    });
    Ok(IteratorAnswer { shard_iterator: place.await?.issue(now) })
}

/// Why a place in a shard cannot be had: `call` says of what operation, shard and stream.
pub(super) fn foreign(error: StreamError, call: &str) -> Fault {
    match error {
        StreamError::ForeignSequence { number, shard } if number.shard() == shard => {
            not_of_stream(&number.to_string(), call)
        }
        StreamError::ForeignSequence { number, shard } => Fault::invalid(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard \
             with {shard}: {number}",
            number.shard()
        )),
        other => other.into(),
    }
}

fn not_of_stream(number: &str, call: &str) -> Fault {
    Fault::invalid(format!(
        "StartingSequenceNumber {number} used in {call} is invalid because it did not come from \
         this stream."
    ))
}

/// The start that a type, with what has to go with it, means.
pub(super) fn start_at(
    kind: &str,
    number: Option<String>,
    time: Option<Time>,
    now: Timestamp,
    call: &str,
) -> Result<StartAt, Fault> {
    let is_by_number = matches!(kind, "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER");
    if is_by_number != number.is_some() {
        let also = if is_by_number { "no" } else { "also a" };
        return Err(Fault::invalid(format!(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
             StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. \
             Request specified {kind} and {also} StartingSequenceNumber."
        )));
    }
    if let Some(text) = number {
        let number = text.parse().map_err(|_| not_of_stream(&text, call))?;
        return Ok(match kind {
            "AT_SEQUENCE_NUMBER" => StartAt::AtSequence(number),
            _ => StartAt::AfterSequence(number),
        });
    }
    match (kind, time) {
        ("AT_TIMESTAMP", None) => Err(Fault::invalid(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current \
             request has no timestamp parameter.",
        )),
        ("AT_TIMESTAMP", Some(Time(at))) if at > now => Err(Fault::invalid(format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
             timestampInMillis: {}, currentTimestampInMillis: {}",
            at.as_millis(),
            now.as_millis()
        ))),
        ("AT_TIMESTAMP", Some(Time(at))) => Ok(StartAt::AtTimestamp(at)),
        ("LATEST", _) => Ok(StartAt::Latest),
        _ => Ok(StartAt::TrimHorizon),
    }
}

/// Answers the records behind an iterator, and the iterator behind those.
pub(super) async fn records(
    kinesis: &Arc<Kinesis>,
    format: Format,
    request: RecordsRequest,
) -> Result<Answer, Fault> {
    let mut findings = Findings::default();
    findings.needs(request.shard_iterator.as_ref(), "shardIterator");
    let iterator = request.shard_iterator.as_ref().map(|iterator| &*iterator.0);
    findings.length(iterator, "shardIterator", 1, 514);
    let most = i64::try_from(KINESIS_PAGE_RECORDS_MAX).unwrap_or(i64::MAX);
    findings.range(request.limit.as_ref().map(|limit| limit.0), "limit", 1, most);
    findings.arn(request.stream_arn.as_ref(), "streamARN");
    findings.finish()?;
    let now = kinesis.clock.now();
    let ShardIterator { stream, place } = ShardIterator::parse(iterator.unwrap_or_default(), now)?;
    if let Some(arn) = request.stream_arn {
        stream_name(Some(Text(stream.clone())), Some(arn))?;
    }
    let limit = request.limit.and_then(|limit| usize::try_from(limit.0).ok());
    let limit = limit.unwrap_or(KINESIS_PAGE_RECORDS_MAX);
    let room = kinesis.room_for(KINESIS_ANSWER_BYTES_MAX).await?;
    let this = Arc::clone(kinesis);
    let read = move |reader: &Reader| {
        let described = live(reader, &stream, &this.account_id)?;
        let Some(entry) = reader.shard_entry(&described, place.shard())? else {
            let (shard, account) = (place.shard(), &this.account_id);
            return Err(Fault::not_found(format!(
                "Shard {shard} in stream {stream} under account {account} does not exist"
            )));
        };
        let cursor = entry.resume(place).ok_or_else(|| Fault::invalid("Invalid ShardIterator."))?;
        if described.is_limited {
            this.admit_read(&stream, entry.id, now, |given| &mut given.pages)?;
        }
        let (page, cursor) = this.page(reader, &stream, cursor, (limit, KINESIS_PAGE_BYTES_MAX))?;
        let bytes = page.payload_bytes();
        if described.is_limited {
            this.spend_read(&stream, entry.id, bytes);
        }
        this.metrics.count_records(Way::Out, page.records.len(), bytes);
        this.meter_given(&stream, entry.id, &page, now);
        // A closed shard that was read to its end has nothing more to come.
        let is_over = entry.closed_at.is_some() && !page.is_cut;
        let child_shards = match is_over {
            true => reader.children(&described, entry.id)?.iter().map(ChildShard::of).collect(),
            false => Vec::new(),
        };
        let next = ShardIterator { stream, place: cursor.bookmark() };
        let answer = RecordsAnswer {
            millis_behind_latest: behind(&page, now),
            records: page.records.into_iter().map(RecordAnswer::of).collect(),
            next_shard_iterator: (!is_over).then(|| next.issue(now)),
            child_shards,
        };
        Ok(Answer::Whole { body: answer::write(format, &answer), room: Some(room) })
    };
    kinesis.pool.read(read).await
}

/// How long ago the last of the records arrived, when there are more.
pub(super) fn behind(page: &Page, now: Timestamp) -> u64 {
    let last = page.records.last().filter(|_| page.is_cut);
    last.map_or(0, |last| u64::try_from(now.since(last.at).as_millis()).unwrap_or(u64::MAX))
}

impl Kinesis {
    /// A page behind the cursor, and the cursor behind the page. Goes on behind blocks that are damaged: their
    /// consumer would stand before them until retention takes them.
    pub(super) fn page(
        &self,
        reader: &Reader,
        stream: &str,
        mut cursor: Cursor,
        (records_max, bytes_max): (usize, usize),
    ) -> Result<(Page, Cursor), Fault> {
        for _ in 0..STREAM_TURN_DAMAGED_MAX {
            match reader.read(&mut cursor, records_max, bytes_max) {
                Ok(page) => return Ok((page, cursor)),
                Err(StreamError::Damaged { shard, block, source }) => {
                    tracing::error!(
                        stream, %shard, block, error = %source,
                        "a block of a stream cannot be read; a consumer is led past it"
                    );
                    self.metrics.damaged_blocks.inc();
                    cursor.skip_block(block);
                }
                Err(error) => {
                    if matches!(error, StreamError::NoKey { .. }) {
                        self.meter.refuse_locked(&self.meter.stream(stream));
                    }
                    return Err(error.into());
                }
            }
        }
        // The next call goes on from here.
        Ok((Page { records: Vec::new(), behind: Default::default(), is_cut: true }, cursor))
    }

    /// Counts a page that a reader of a shard is given.
    pub(super) fn meter_given(&self, stream: &str, shard: ShardId, page: &Page, now: Timestamp) {
        let bytes = page.payload_bytes() as u64;
        let given = Amount { records: page.records.len() as u64, bytes };
        let age = Duration::from_millis(behind(page, now));
        self.meter.stream(stream).shard(shard).give(given, age, now);
    }

    /// Takes one of the calls that a shard with limits answers in a second.
    fn admit_read(
        &self,
        stream: &str,
        shard: ShardId,
        now: Timestamp,
        of: impl Fn(&mut Given) -> &mut Allowance,
    ) -> Result<(), Fault> {
        let mut given = self.given.lock();
        if given.len() >= SHARD_RATES_MAX {
            given.retain(|_, given| !(given.pages.is_full(now) && given.places.is_full(now)));
        }
        let key = (stream.to_owned(), shard);
        let fresh = || Given { pages: Allowance::to_read(), places: Allowance::to_place() };
        if of(given.entry(key).or_insert_with(fresh)).begin(now) {
            return Ok(());
        }
        self.metrics.count_throttled(Way::Out, 1);
        self.meter.stream(stream).shard(shard).throttle_read();
        let message = exceeded(shard, stream, &self.account_id);
        Err(Fault::new("ProvisionedThroughputExceededException", message))
    }

    fn spend_read(&self, stream: &str, shard: ShardId, bytes: usize) {
        if let Some(given) = self.given.lock().get_mut(&(stream.to_owned(), shard)) {
            given.pages.spend(bytes);
        }
    }
}
