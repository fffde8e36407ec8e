//! PutRecord and PutRecordBatch.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::json;
use uuid::Uuid;

use super::super::Kinesis;
use super::super::NotPut;
use super::super::fault::Fault;
use super::super::fault::Findings;
use super::super::shape::Blob;
use super::super::shape::List;
use super::super::shape::Text;
use super::checked_name;
use crate::delivery::DeliveryFull;
use crate::delivery::DeliveryPut;
use crate::delivery::NotMade;
use crate::limits::FIREHOSE_BATCH_BYTES_MAX;
use crate::limits::FIREHOSE_BATCH_RECORDS_MAX;
use crate::limits::FIREHOSE_RECORD_BYTES_MAX;

/// What says that there is no room: SDKs wait and try again.
const SLOW_DOWN: &str = "ServiceUnavailableException";

/// PutRecord's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneRequest {
    delivery_stream_name: Option<Text>,
    record: Option<Entry>,
}

/// PutRecordBatch's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManyRequest {
    delivery_stream_name: Option<Text>,
    records: Option<List<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Option<Blob>,
}

impl Entry {
    fn check(&self, findings: &mut Findings, member: impl Fn() -> String) {
        match &self.data {
            None => findings.needs(self.data.as_ref(), &member()),
            Some(Blob(data)) if data.len() > FIREHOSE_RECORD_BYTES_MAX => {
                let length = data.len();
                // What Java shows of a buffer.
                let value = format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]");
                let bound =
                    format!("have length less than or equal to {FIREHOSE_RECORD_BYTES_MAX}");
                findings.add(Some(&value), &member(), &bound);
            }
            Some(_) => {}
        }
    }

    fn bytes(self) -> Bytes {
        self.data.map(|data| data.0).unwrap_or_default()
    }
}

/// Puts a record and answers when it is on disk.
pub(super) async fn record(kinesis: &Arc<Kinesis>, request: OneRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    findings.needs(request.record.as_ref(), "record");
    if let Some(entry) = &request.record {
        entry.check(&mut findings, || "record.data".to_owned());
    }
    let name = checked_name(findings, request.delivery_stream_name)?;
    let records = request.record.into_iter().map(Entry::bytes).collect();
    match put(kinesis, &name, records).await?.first() {
        Some(Ok(())) => Ok(json!({"RecordId": record_id(), "Encrypted": false})),
        Some(Err(full)) => Err(Fault { kind: SLOW_DOWN, ..Fault::unavailable(slow_down(*full)) }),
        None => Err(Fault::internal("the record has no outcome")),
    }
}

/// Puts records, each for itself, and answers when they are on disk.
pub(super) async fn records(kinesis: &Arc<Kinesis>, request: ManyRequest) -> Result<Json, Fault> {
    let mut findings = Findings::default();
    findings.needs(request.records.as_ref(), "records");
    if let Some(List { items, count }) = &request.records {
        if !(1..=FIREHOSE_BATCH_RECORDS_MAX).contains(count) {
            let side = match *count {
                0 => "greater than or equal to 1".to_owned(),
                _ => format!("less than or equal to {FIREHOSE_BATCH_RECORDS_MAX}"),
            };
            let value = format!("[{count} records]");
            findings.add(Some(&value), "records", &format!("have length {side}"));
        }
        for (place, entry) in items.iter().take(FIREHOSE_BATCH_RECORDS_MAX).enumerate() {
            entry.check(&mut findings, || format!("records.{}.member.data", place + 1));
        }
    }
    let name = checked_name(findings, request.delivery_stream_name)?;
    let entries = request.records.map(|records| records.items).unwrap_or_default();
    let records: Vec<Bytes> = entries.into_iter().map(Entry::bytes).collect();
    if records.iter().map(Bytes::len).sum::<usize>() > FIREHOSE_BATCH_BYTES_MAX {
        return Err(Fault::invalid("Records size exceeds 4 MB limit"));
    }
    let outcome = put(kinesis, &name, records).await?;
    let answer = |outcome: &Result<(), DeliveryFull>| match outcome {
        Ok(()) => json!({"RecordId": record_id()}),
        Err(full) => json!({"ErrorCode": SLOW_DOWN, "ErrorMessage": slow_down(*full)}),
    };
    Ok(json!({
        "FailedPutCount": outcome.iter().filter(|outcome| outcome.is_err()).count(),
        "Encrypted": false,
        "RequestResponses": outcome.iter().map(answer).collect::<Vec<_>>(),
    }))
}

/// A name that a record is answered with. It says nothing: records are numbered when they are delivered.
fn record_id() -> String {
    Uuid::new_v4().to_string()
}

fn slow_down(full: DeliveryFull) -> String {
    format!("Slow down. {} bytes wait to be delivered, as many as may.", full.bytes_max)
}

async fn put(
    kinesis: &Kinesis,
    name: &str,
    records: Vec<Bytes>,
) -> Result<Vec<Result<(), DeliveryFull>>, Fault> {
    let made = kinesis.made();
    let _held = made.hold().await;
    let is_there = made.find(name).is_some_and(|made| !made.is_ending);
    if !is_there && !made.accounts().is_declared(name) {
        return Err(kinesis.not_made(name, NotMade::Unknown));
    }
    let delivery = Arc::from(name);
    made.accounts().room_of(&delivery).await;
    let put = DeliveryPut::new(made.accounts(), &delivery, kinesis.clock.now(), records);
    let put = Arc::new(put);
    kinesis.intake.deliver(Arc::clone(&put)).await.map_err(|not_put| match not_put {
        NotPut::Refused(reason) => Fault { kind: SLOW_DOWN, ..Fault::unavailable(reason) },
        NotPut::Unsettled => Fault::internal(not_put.to_string()),
    })?;
    put.take_outcome().ok_or_else(|| Fault::internal("the records have no outcome"))
}
