//! PutRecord and PutRecords.

use std::sync::Arc;

use compact_str::CompactString;
use serde::Deserialize;
use serde::Serialize;

use super::Kinesis;
use super::NotPut;
use super::answer::Spelled;
use super::encryption::KMS;
use super::fault::Fault;
use super::fault::Findings;
use super::metrics::Way;
use super::shape::Blob;
use super::shape::List;
use super::shape::Structure;
use super::shape::Text;
use super::target::stream_name;
use crate::limits::KINESIS_BATCH_BYTES_MAX;
use crate::limits::KINESIS_BATCH_RECORDS_MAX;
use crate::limits::PARTITION_KEY_CHARS_MAX;
use crate::limits::STREAM_RECORD_BYTES_MAX;
use crate::stream::NoRoom;
use crate::stream::Put;
use crate::stream::PutOutcome;
use crate::stream::PutRecord;
use crate::stream::PutRefused;
use crate::stream::PutResult;
use crate::stream::SequenceNumber;
use crate::stream::ShardId;
use crate::stream::Stored;

const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// PutRecord's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    data: Option<Blob>,
    partition_key: Option<Text>,
    explicit_hash_key: Option<Text>,
    sequence_number_for_ordering: Option<Text>,
}

/// PutRecord's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneAnswer {
    shard_id: Spelled<ShardId>,
    sequence_number: Spelled<SequenceNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

/// PutRecords' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManyRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    records: Option<List<Structure<Entry>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Option<Blob>,
    partition_key: Option<Text>,
    explicit_hash_key: Option<Text>,
}

/// PutRecords' answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManyAnswer {
    failed_record_count: usize,
    records: Vec<EntryAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "PascalCase")]
enum EntryAnswer {
    Stored { sequence_number: Spelled<SequenceNumber>, shard_id: Spelled<ShardId> },
    Failed { error_code: &'static str, error_message: String },
}

impl Entry {
    /// `member` is how a message names a member of this entry.
    fn check(&self, findings: &mut Findings, member: impl Fn(&str) -> String) {
        let Entry { data, partition_key, explicit_hash_key } = self;
        if data.is_none() {
            findings.needs(data.as_ref(), &member("data"));
        }
        if let Some(Blob(data)) = data
            && data.len() > STREAM_RECORD_BYTES_MAX
        {
            too_long(findings, data.len(), &member("data"), STREAM_RECORD_BYTES_MAX);
        }
        // The names are built for those that need one: there may be 500 entries.
        let chars = partition_key.as_ref().map_or(0, |key| key.0.chars().count());
        if chars == 0 || chars > PARTITION_KEY_CHARS_MAX {
            let name = member("partitionKey");
            findings.needs(partition_key.as_ref(), &name);
            let key = partition_key.as_ref().map(|key| &*key.0);
            findings.length(key, &name, 1, PARTITION_KEY_CHARS_MAX);
        }
        if explicit_hash_key.is_some() {
            findings.hash_key(explicit_hash_key.as_ref(), &member("explicitHashKey"));
        }
    }

    /// The record that it is. Checked before.
    fn record(self) -> Result<PutRecord, Fault> {
        let hash_key = match self.explicit_hash_key {
            None => None,
            Some(Text(key)) => Some(key.parse::<u128>().map_err(|_| {
                Fault::invalid(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. \
                     Specified value was {key}"
                ))
            })?),
        };
        let key = self.partition_key.map(|key| CompactString::from(key.0)).unwrap_or_default();
        let data = self.data.map(|data| data.0).unwrap_or_default();
        Ok(PutRecord::new(key, hash_key, data))
    }
}

fn too_long(findings: &mut Findings, length: usize, member: &str, most: usize) {
    // What Java shows of a buffer.
    let value = format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]");
    findings.add(Some(&value), member, &format!("have length less than or equal to {most}"));
}

/// Puts a record and answers when it is on disk.
pub(super) async fn record(
    kinesis: &Arc<Kinesis>,
    request: OneRequest,
) -> Result<OneAnswer, Fault> {
    let OneRequest { data, partition_key, explicit_hash_key, .. } = request;
    let entry = Entry { data, partition_key, explicit_hash_key };
    let mut findings = Findings::default();
    let after = request.sequence_number_for_ordering;
    findings.sequence_number(after.as_ref(), "sequenceNumberForOrdering");
    entry.check(&mut findings, str::to_owned);
    findings.stream_name(request.stream_name.as_ref());
    findings.arn(request.stream_arn.as_ref(), "streamARN");
    findings.finish()?;
    let stream = stream_name(request.stream_name, request.stream_arn)?;
    // Records of one producer are stored in the order in which they are acknowledged, whatever it says here; a number
    // that none of our records can have is refused all the same.
    if let Some(Text(number)) = after
        && number.parse::<SequenceNumber>().is_err()
    {
        return Err(Fault::invalid(format!(
            "ExclusiveMinimumSequenceNumber {number} used in PutRecord on stream {stream} under \
             account {} is invalid.",
            kinesis.account_id
        )));
    }
    let outcome = put(kinesis, &stream, vec![entry.record()?], |_| "data".to_owned()).await?;
    match outcome.results.first() {
        Some(PutResult::Stored(Stored { shard, sequence_number })) => Ok(OneAnswer {
            shard_id: Spelled(*shard),
            sequence_number: Spelled(*sequence_number),
            encryption_type: outcome.is_encrypted.then_some(KMS),
        }),
        Some(PutResult::Throttled(shard)) => {
            Err(Fault::new(THROTTLED, exceeded(*shard, &stream, &kinesis.account_id)))
        }
        Some(PutResult::NoRoom(no_room)) => {
            Err(Fault::new(THROTTLED, full(*no_room, &stream, &kinesis.account_id)))
        }
        None => Err(Fault::internal("the record has no outcome")),
    }
}

/// Puts records, each for itself, and answers when they are on disk.
pub(super) async fn records(
    kinesis: &Arc<Kinesis>,
    request: ManyRequest,
) -> Result<ManyAnswer, Fault> {
    let mut findings = Findings::default();
    let records = request.records;
    findings.needs(records.as_ref(), "records");
    if let Some(List { items, count }) = &records {
        if !(1..=KINESIS_BATCH_RECORDS_MAX).contains(count) {
            let side = match *count {
                0 => "greater than or equal to 1".to_owned(),
                _ => format!("less than or equal to {KINESIS_BATCH_RECORDS_MAX}"),
            };
            let value = format!("[{count} records]");
            findings.add(Some(&value), "records", &format!("have length {side}"));
        }
        for (place, Structure(entry)) in items.iter().take(KINESIS_BATCH_RECORDS_MAX).enumerate() {
            entry.check(&mut findings, |member| format!("records.{}.member.{member}", place + 1));
        }
    }
    findings.stream_name(request.stream_name.as_ref());
    findings.arn(request.stream_arn.as_ref(), "streamARN");
    findings.finish()?;
    let stream = stream_name(request.stream_name, request.stream_arn)?;
    let entries = records.map(|records| records.items).unwrap_or_default();
    let records: Vec<PutRecord> =
        entries.into_iter().map(|Structure(entry)| entry.record()).collect::<Result<_, _>>()?;
    if records.iter().map(PutRecord::payload_bytes).sum::<usize>() > KINESIS_BATCH_BYTES_MAX {
        return Err(Fault::invalid("Records size exceeds 10 MB limit"));
    }
    let member = |place| format!("records.{}.member.data", place + 1);
    let PutOutcome { results, is_encrypted } = put(kinesis, &stream, records, member).await?;
    let answer = |result: &PutResult| match result {
        PutResult::Stored(stored) => EntryAnswer::Stored {
            sequence_number: Spelled(stored.sequence_number),
            shard_id: Spelled(stored.shard),
        },
        PutResult::Throttled(shard) => EntryAnswer::Failed {
            error_code: THROTTLED,
            error_message: exceeded(*shard, &stream, &kinesis.account_id),
        },
        PutResult::NoRoom(no_room) => EntryAnswer::Failed {
            error_code: THROTTLED,
            error_message: full(*no_room, &stream, &kinesis.account_id),
        },
    };
    let is_failed = |result: &&PutResult| !matches!(result, PutResult::Stored(_));
    Ok(ManyAnswer {
        failed_record_count: results.iter().filter(is_failed).count(),
        records: results.iter().map(answer).collect(),
        encryption_type: is_encrypted.then_some(KMS),
    })
}

/// What a shard's limit says.
pub(super) fn exceeded(shard: ShardId, stream: &str, account: &str) -> String {
    format!("Rate exceeded for shard {shard} in stream {stream} under account {account}.")
}

/// What a full stream says. AWS has no such limit; with this error type SDKs back off and try again, and there may be
/// room when retention has been there.
fn full(no_room: NoRoom, stream: &str, account: &str) -> String {
    let NoRoom { bytes_max } = no_room;
    format!("Stream {stream} under account {account} is full: it may hold {bytes_max} bytes.")
}

async fn put(
    kinesis: &Kinesis,
    stream: &str,
    records: Vec<PutRecord>,
    member: impl Fn(usize) -> String,
) -> Result<PutOutcome, Fault> {
    let put = Arc::new(Put::new(Arc::from(stream), kinesis.clock.now(), records));
    kinesis.intake.put(Arc::clone(&put)).await.map_err(|not_put| match not_put {
        NotPut::Refused(reason) => Fault::unavailable(reason),
        NotPut::Unsettled => Fault::internal(not_put.to_string()),
    })?;
    let outcome = match put.take_outcome() {
        Some(Ok(outcome)) => outcome,
        Some(Err(PutRefused::NoKey { key_id })) => return Err(kinesis.no_key(&key_id)),
        Some(Err(PutRefused::UnknownStream)) => return Err(kinesis.no_stream(stream)),
        Some(Err(PutRefused::RecordTooLarge { place, bytes_max })) => {
            let length = put.records().get(place).map_or(0, PutRecord::payload_bytes);
            let mut findings = Findings::default();
            too_long(&mut findings, length, &member(place), bytes_max);
            return Err(findings.finish().expect_err("something was noted"));
        }
        None => return Err(Fault::internal("the records have no outcome")),
    };
    let (mut stored, mut throttled) = ((0, 0), 0);
    for (record, result) in put.records().iter().zip(&outcome.results) {
        match result {
            PutResult::Stored(_) => stored = (stored.0 + 1, stored.1 + record.payload_bytes()),
            PutResult::Throttled(_) => throttled += 1,
            PutResult::NoRoom(_) => {}
        }
    }
    kinesis.metrics.count_records(Way::In, stored.0, stored.1);
    kinesis.metrics.count_throttled(Way::In, throttled);
    Ok(outcome)
}
