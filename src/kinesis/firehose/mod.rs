//! Firehose's API over deliveries: delivery streams that programs make, and records that they put.
//!
//! `X-Amz-Target: Firehose_20150804.NAME` in JSON on the same route as the Kinesis API. A delivery stream is a delivery
//! ([`crate::delivery`]): one of the configuration, which the API describes and puts into, or one that it has made
//! ([`MadeDeliveries`]). [`destination`] says what a bucket and its settings are here, [`control`] makes and changes, [`put`] puts:
//! through the journal's queue, answered when the commit is on disk.

mod control;
pub(super) mod destination;
mod put;

use std::sync::Arc;

use serde_json::Value as Json;

use super::Kinesis;
use super::fault::Fault;
use super::fault::Findings;
use super::operation::read_request;
use super::shape::Format;
use super::shape::Text;
use super::wire::Answer;
use crate::delivery::MadeDeliveries;
use crate::delivery::NotMade;

/// Names each operation once, as the API does, with the name that it is counted under.
macro_rules! operations {
    ($($name:ident)*) => {
        /// An operation of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation {
            $($name,)*
        }

        impl Operation {
            pub(super) fn parse(name: &str) -> Option<Operation> {
                match name {
                    $(stringify!($name) => Some(Operation::$name),)*
                    _ => None,
                }
            }

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Operation::$name => concat!("Firehose.", stringify!($name)),)*
                }
            }

            /// All of them.
            #[cfg(test)]
            const ALL: &'static [Operation] = &[$(Operation::$name,)*];
        }
    };
}

operations! {
    CreateDeliveryStream DeleteDeliveryStream DescribeDeliveryStream ListDeliveryStreams
    ListTagsForDeliveryStream PutRecord PutRecordBatch StartDeliveryStreamEncryption
    StopDeliveryStreamEncryption TagDeliveryStream UntagDeliveryStream UpdateDestination
}

impl Operation {
    /// Whether a request is read as a tree of values, which takes many times its room.
    pub(super) fn takes_tree(self) -> bool {
        !matches!(self, Operation::PutRecord | Operation::PutRecordBatch)
    }

    /// Reads the request and does it.
    pub(super) async fn call(self, kinesis: &Arc<Kinesis>, body: &[u8]) -> Result<Answer, Fault> {
        macro_rules! answered {
            ($operation:path) => {
                $operation(kinesis, read_request(Format::Json, body)?).await
            };
        }
        let answer: Json = match self {
            Operation::CreateDeliveryStream => answered!(control::create),
            Operation::DeleteDeliveryStream => answered!(control::delete),
            Operation::DescribeDeliveryStream => answered!(control::describe),
            Operation::ListDeliveryStreams => answered!(control::list),
            Operation::ListTagsForDeliveryStream => answered!(control::tags),
            Operation::PutRecord => answered!(put::record),
            Operation::PutRecordBatch => answered!(put::records),
            Operation::StartDeliveryStreamEncryption => answered!(control::start_encryption),
            Operation::StopDeliveryStreamEncryption => answered!(control::stop_encryption),
            Operation::TagDeliveryStream => answered!(control::tag),
            Operation::UntagDeliveryStream => answered!(control::untag),
            Operation::UpdateDestination => answered!(control::update),
        }?;
        Ok(Answer::Whole { body: answer.to_string().into_bytes(), room: None })
    }
}

/// Reads a body as a request of each kind, and forgets it. For fuzzing.
pub(super) fn probe(body: &[u8]) {
    drop(read_request::<control::CreateRequest>(Format::Json, body));
    drop(read_request::<control::UpdateRequest>(Format::Json, body));
    drop(read_request::<put::ManyRequest>(Format::Json, body));
    if let Ok(Json::Object(members)) = serde_json::from_slice(body) {
        drop(destination::settings(&members, std::path::Path::new("")));
    }
}

impl Findings {
    /// `DeliveryStreamName`
    fn delivery_stream_name(&mut self, name: Option<&Text>) {
        let member = "deliveryStreamName";
        self.needs(name, member);
        let name = name.map(|name| &*name.0);
        self.length(name, member, 1, 64);
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_part);
        self.form(name, member, "[a-zA-Z0-9_.-]+", is_name);
    }
}

/// Checks a request of which only the name of a delivery stream is left to be checked.
fn checked_name(mut findings: Findings, name: Option<Text>) -> Result<String, Fault> {
    findings.delivery_stream_name(name.as_ref());
    findings.finish()?;
    Ok(name.map(|name| name.0).unwrap_or_default())
}

impl Kinesis {
    /// What became of a change of the delivery stream `name`.
    fn not_made(&self, name: &str, not_made: NotMade) -> Fault {
        let account = &self.account_id;
        match not_made {
            NotMade::Unknown => {
                Fault::not_found(format!("Firehose {name} under account {account} not found."))
            }
            NotMade::Exists => {
                Fault::in_use(format!("Firehose {name} under accountId {account} already exists"))
            }
            NotMade::Declared => Fault::in_use(format!(
                "Firehose {name} under account {account} is named by the configuration."
            )),
            NotMade::Changed(version) => Fault::new(
                "ConcurrentModificationException",
                format!("The version of Firehose {name} is {version}."),
            ),
            NotMade::TooMany | NotMade::Tags => Fault::too_many(not_made.to_string()),
            NotMade::NotStored(error) => error.into(),
        }
    }

    /// The deliveries that programs have made.
    fn made(&self) -> &Arc<MadeDeliveries> {
        &self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_operation() {
        let page = include_str!("../../../docs/delivery.md");
        for operation in Operation::ALL {
            let name = operation.name().strip_prefix("Firehose.").unwrap();
            assert_eq!(Operation::parse(name), Some(*operation));
            assert!(page.contains(&format!("| `{name}` |")), "docs/delivery.md lacks {name}");
        }
    }
}
