//! The operations that there are, and which function does each.

use std::sync::Arc;

use super::Kinesis;
use super::answer::write;
use super::control;
use super::describe;
use super::encryption;
use super::fan_out;
use super::fault::Fault;
use super::monitor;
use super::operations::operations;
use super::put;
use super::read;
use super::refused;
use super::shape::Format;
use super::shape::Ignored;
use super::shape::parse;
use super::subscribe;
use super::tags;
use super::wire::Answer;

operations! {
    "":
    AddTagsToStream CreateStream DecreaseStreamRetentionPeriod DeleteResourcePolicy DeleteStream
    DeregisterStreamConsumer DescribeAccountSettings DescribeLimits DescribeStream
    DescribeStreamConsumer DescribeStreamSummary DisableEnhancedMonitoring
    EnableEnhancedMonitoring GetRecords GetResourcePolicy GetShardIterator
    IncreaseStreamRetentionPeriod ListShards ListStreamConsumers ListStreams ListTagsForResource
    ListTagsForStream MergeShards PutRecord PutRecords PutResourcePolicy RegisterStreamConsumer
    RemoveTagsFromStream SplitShard StartStreamEncryption StopStreamEncryption SubscribeToShard
    TagResource UntagResource UpdateAccountSettings UpdateMaxRecordSize UpdateShardCount
    UpdateStreamMode UpdateStreamRecordDistributionStrategy UpdateStreamWarmThroughput
}

impl Operation {
    /// Reads the request and does it.
    pub(super) async fn call(
        self,
        kinesis: &Arc<Kinesis>,
        format: Format,
        body: &[u8],
    ) -> Result<Answer, Fault> {
        /// An operation that answers something.
        macro_rules! answered {
            ($operation:path) => {{
                let answer = $operation(kinesis, read_request(format, body)?).await?;
                Ok(Answer::Whole { body: write(format, &answer), room: None })
            }};
        }
        /// One that answers nothing but that it is done.
        macro_rules! done {
            ($operation:path) => {{
                $operation(kinesis, read_request(format, body)?).await?;
                Ok(Answer::done())
            }};
        }
        /// One that is not done here.
        macro_rules! refused {
            ($instead:path) => {
                Err(refused::refuse(read_request(format, body)?, $instead))
            };
        }
        match self {
            Operation::AddTagsToStream => done!(tags::add),
            Operation::CreateStream => done!(control::create),
            Operation::DecreaseStreamRetentionPeriod => done!(control::decrease_retention),
            Operation::DeleteResourcePolicy => refused!(refused::POLICIES),
            Operation::DeleteStream => done!(control::delete),
            Operation::DeregisterStreamConsumer => done!(fan_out::deregister),
            Operation::DescribeAccountSettings => refused!(refused::ACCOUNT),
            Operation::DescribeLimits => answered!(describe::limits),
            Operation::DescribeStream => answered!(describe::stream),
            Operation::DescribeStreamConsumer => answered!(fan_out::describe),
            Operation::DescribeStreamSummary => answered!(describe::summary),
            Operation::DisableEnhancedMonitoring => answered!(monitor::disable),
            Operation::EnableEnhancedMonitoring => answered!(monitor::enable),
            Operation::GetRecords => {
                read::records(kinesis, format, read_request(format, body)?).await
            }
            Operation::GetResourcePolicy => refused!(refused::POLICIES),
            Operation::GetShardIterator => answered!(read::iterator),
            Operation::IncreaseStreamRetentionPeriod => done!(control::increase_retention),
            Operation::ListShards => answered!(describe::shards),
            Operation::ListStreamConsumers => answered!(fan_out::list),
            Operation::ListStreams => answered!(describe::streams),
            Operation::ListTagsForResource => answered!(tags::of_resource),
            Operation::ListTagsForStream => answered!(tags::of_stream),
            Operation::MergeShards => done!(control::merge),
            Operation::PutRecord => answered!(put::record),
            Operation::PutRecords => answered!(put::records),
            Operation::PutResourcePolicy => refused!(refused::POLICIES),
            Operation::RegisterStreamConsumer => answered!(fan_out::register),
            Operation::RemoveTagsFromStream => done!(tags::remove),
            Operation::SplitShard => done!(control::split),
            Operation::StartStreamEncryption => done!(encryption::start),
            Operation::StopStreamEncryption => done!(encryption::stop),
            Operation::SubscribeToShard => {
                subscribe::shard(kinesis, format, read_request(format, body)?).await
            }
            Operation::TagResource => done!(tags::add_to_resource),
            Operation::UntagResource => done!(tags::remove_from_resource),
            Operation::UpdateAccountSettings => refused!(refused::ACCOUNT),
            Operation::UpdateMaxRecordSize => done!(control::max_record_size),
            Operation::UpdateShardCount => answered!(control::shard_count),
            Operation::UpdateStreamMode => done!(control::mode),
            Operation::UpdateStreamRecordDistributionStrategy => refused!(refused::DISTRIBUTION),
            Operation::UpdateStreamWarmThroughput => refused!(refused::WARM_THROUGHPUT),
        }
    }
}

impl Operation {
    /// Whether a body is a request of this operation. Nothing is done.
    pub(super) fn reads(self, format: Format, body: &[u8]) -> Result<(), Fault> {
        macro_rules! reads {
            ($request:path) => {
                read_request::<$request>(format, body).map(drop)
            };
        }
        match self {
            Operation::AddTagsToStream => reads!(tags::AddRequest),
            Operation::CreateStream => reads!(control::CreateRequest),
            Operation::DecreaseStreamRetentionPeriod | Operation::IncreaseStreamRetentionPeriod => {
                reads!(control::RetentionRequest)
            }
            Operation::DeleteStream => reads!(control::DeleteRequest),
            Operation::DeregisterStreamConsumer | Operation::DescribeStreamConsumer => {
                reads!(fan_out::ConsumerRequest)
            }
            Operation::DescribeLimits
            | Operation::DeleteResourcePolicy
            | Operation::DescribeAccountSettings
            | Operation::GetResourcePolicy
            | Operation::PutResourcePolicy
            | Operation::UpdateAccountSettings
            | Operation::UpdateStreamRecordDistributionStrategy
            | Operation::UpdateStreamWarmThroughput => reads!(Ignored),
            Operation::DisableEnhancedMonitoring | Operation::EnableEnhancedMonitoring => {
                reads!(monitor::MonitorRequest)
            }
            Operation::DescribeStream | Operation::DescribeStreamSummary => {
                reads!(describe::StreamRequest)
            }
            Operation::GetRecords => reads!(read::RecordsRequest),
            Operation::GetShardIterator => reads!(read::IteratorRequest),
            Operation::ListShards => reads!(describe::ShardsRequest),
            Operation::ListStreamConsumers => reads!(fan_out::ListRequest),
            Operation::ListStreams => reads!(describe::StreamsRequest),
            Operation::ListTagsForResource => reads!(tags::OfResourceRequest),
            Operation::ListTagsForStream => reads!(tags::OfStreamRequest),
            Operation::MergeShards => reads!(control::MergeRequest),
            Operation::PutRecord => reads!(put::OneRequest),
            Operation::PutRecords => reads!(put::ManyRequest),
            Operation::RegisterStreamConsumer => reads!(fan_out::RegisterRequest),
            Operation::RemoveTagsFromStream => reads!(tags::RemoveRequest),
            Operation::SplitShard => reads!(control::SplitRequest),
            Operation::StartStreamEncryption | Operation::StopStreamEncryption => {
                reads!(encryption::EncryptionRequest)
            }
            Operation::SubscribeToShard => reads!(subscribe::SubscribeRequest),
            Operation::TagResource => reads!(tags::AddToResourceRequest),
            Operation::UntagResource => reads!(tags::RemoveFromResourceRequest),
            Operation::UpdateMaxRecordSize => reads!(control::RecordSizeRequest),
            Operation::UpdateShardCount => reads!(control::CountRequest),
            Operation::UpdateStreamMode => reads!(control::StreamModeRequest),
        }
    }
}

pub(super) fn read_request<T: serde::de::DeserializeOwned>(
    format: Format,
    body: &[u8],
) -> Result<T, Fault> {
    parse(format, body).map_err(|message| Fault::new("SerializationException", message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::probe;

    proptest! {
        #[test]
        fn no_bytes_make_a_request_panic(bytes: Vec<u8>) {
            probe(&bytes);
        }

        #[test]
        fn no_damage_makes_a_request_panic(
            operation: u8, at: prop::sample::Index, with: u8, is_cut: bool,
        ) {
            let json = serde_json::json!({
                "StreamName": "s", "Records": [{"Data": "AAEC", "PartitionKey": "k"}],
                "Timestamp": 1.5, "Tags": {"k": "v"}, "TagKeys": ["k"], "Limit": 5,
            });
            let mut cbor = vec![operation];
            ciborium::into_writer(&json, &mut cbor).unwrap();
            let text = [&[operation][..], json.to_string().as_bytes()].concat();
            for mut bytes in [cbor, text] {
                let at = at.index(bytes.len());
                bytes[at] = with;
                if is_cut {
                    bytes.truncate(at);
                }
                probe(&bytes);
            }
        }
    }

    #[test]
    fn the_page_has_each_operation() {
        let page = include_str!("../../docs/kinesis.md");
        for operation in Operation::ALL {
            let name = operation.name();
            assert_eq!(Operation::parse(name), Some(*operation));
            assert!(page.contains(&format!("| `{name}` |")), "docs/kinesis.md lacks {name}");
        }
    }
}
