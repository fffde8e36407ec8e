//! Answers: their members, and how they are written.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ciborium::tag::Required;
use serde::Serialize;
use serde::Serializer;

use super::shape::Format;
use crate::clock::Timestamp;
use crate::stream::ShardEntry;
use crate::stream::ShardId;

/// Writes an answer.
pub(super) fn write(format: Format, answer: &impl Serialize) -> Vec<u8> {
    match format {
        Format::Json => {
            serde_json::to_vec(answer).expect("answers have text keys and no failing parts")
        }
        Format::Cbor => {
            let mut bytes = Vec::new();
            ciborium::into_writer(answer, &mut bytes).expect("writing to memory does not fail");
            bytes
        }
    }
}

/// A time: seconds in JSON, tagged milliseconds in CBOR.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        if serializer.is_human_readable() {
            #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
            let seconds = millis as f64 / 1000.0;
            serializer.serialize_f64(seconds)
        } else {
            Required::<i64, 1>(millis).serialize(serializer)
        }
    }
}

/// Bytes: base64 in JSON, themselves in CBOR.
#[derive(Clone, Debug)]
pub(super) struct Blob(pub(super) Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(&Base64Display::new(&self.0, &STANDARD)),
            false => serializer.serialize_bytes(&self.0),
        }
    }
}

/// What has a text form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelled<T>(pub(super) T);

impl<T: std::fmt::Display> Serialize for Spelled<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// `HashKeyRange`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HashKeyRange {
    starting_hash_key: Spelled<u128>,
    ending_hash_key: Spelled<u128>,
}

impl HashKeyRange {
    fn of(shard: &ShardEntry) -> HashKeyRange {
        HashKeyRange {
            starting_hash_key: Spelled(shard.range.start),
            ending_hash_key: Spelled(shard.range.end),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

/// `Shard`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shard {
    shard_id: Spelled<ShardId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<Spelled<ShardId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<Spelled<ShardId>>,
    hash_key_range: HashKeyRange,
    sequence_number_range: SequenceNumberRange,
}

impl Shard {
    pub(super) fn of(shard: &ShardEntry) -> Shard {
        Shard {
            shard_id: Spelled(shard.id),
            parent_shard_id: shard.parents[0].map(Spelled),
            adjacent_parent_shard_id: shard.parents[1].map(Spelled),
            hash_key_range: HashKeyRange::of(shard),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: shard.first.to_string(),
                ending_sequence_number: shard.last.map(|last| last.to_string()),
            },
        }
    }
}

/// `ChildShard`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChildShard {
    shard_id: Spelled<ShardId>,
    parent_shards: Vec<Spelled<ShardId>>,
    hash_key_range: HashKeyRange,
}

impl ChildShard {
    pub(super) fn of(shard: &ShardEntry) -> ChildShard {
        ChildShard {
            shard_id: Spelled(shard.id),
            parent_shards: shard.parents.into_iter().flatten().map(Spelled).collect(),
            hash_key_range: HashKeyRange::of(shard),
        }
    }
}

/// `StreamModeDetails`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ModeDetails {
    stream_mode: &'static str,
}

impl ModeDetails {
    pub(super) fn of(is_limited: bool) -> ModeDetails {
        ModeDetails { stream_mode: if is_limited { "PROVISIONED" } else { "ON_DEMAND" } }
    }
}
