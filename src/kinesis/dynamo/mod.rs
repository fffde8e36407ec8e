//! DynamoDB's API over the lease tables: as much of it as consumers of streams use.
//!
//! `X-Amz-Target: DynamoDB_20120810.NAME` in JSON on the same route as the Kinesis API, so that KCL and its like need
//! one endpoint. [`items`] reads and writes items, [`tables`] makes and describes tables, [`conditions`] reads what
//! requests say in expressions or in the legacy parameters. What is stored, and how, is [`crate::lease`]'s.

mod conditions;
mod items;
mod tables;
mod transfer;

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Map;
use serde_json::Value as Json;

use super::Kinesis;
use super::fault::Fault;
use super::operations::operations;
use super::wire::Answer;
use crate::lease::LeaseError;
use crate::lease::Refused;
use crate::lease::value::Item;
use crate::lease::value::parse_item;

operations! {
    "DynamoDB.":
    BatchGetItem BatchWriteItem CreateTable DeleteItem DeleteTable DescribeTable DescribeTimeToLive
    GetItem ListTables ListTagsOfResource PutItem Query Scan TagResource UntagResource UpdateItem
    UpdateTable UpdateTimeToLive
}

impl Operation {
    /// Reads the request and does it.
    pub(super) async fn call(self, kinesis: &Arc<Kinesis>, body: &[u8]) -> Result<Answer, Fault> {
        macro_rules! answered {
            ($operation:path) => {
                $operation(kinesis, request(body)?).await
            };
        }
        let answer: Json = match self {
            Operation::BatchGetItem => answered!(transfer::get),
            Operation::BatchWriteItem => answered!(transfer::write),
            Operation::CreateTable => answered!(tables::create),
            Operation::DeleteItem => answered!(items::delete),
            Operation::DeleteTable => answered!(tables::delete),
            Operation::DescribeTable => answered!(tables::describe),
            Operation::DescribeTimeToLive => answered!(tables::describe_expiry),
            Operation::GetItem => answered!(items::get),
            Operation::ListTables => answered!(tables::list),
            Operation::ListTagsOfResource => answered!(tables::tags),
            Operation::PutItem => answered!(items::put),
            Operation::Query => answered!(items::query),
            Operation::Scan => answered!(items::scan),
            Operation::TagResource => answered!(tables::tag),
            Operation::UntagResource => answered!(tables::untag),
            Operation::UpdateItem => answered!(items::update),
            Operation::UpdateTable => answered!(tables::update),
            Operation::UpdateTimeToLive => answered!(tables::update_expiry),
        }?;
        Ok(Answer::Whole { body: answer.to_string().into_bytes(), room: None })
    }
}

/// Reads a body as a request of each operation, and forgets it. For fuzzing.
pub(super) fn probe(body: &[u8]) {
    drop(request::<items::ItemRequest>(body).map(|request| request.probe()));
    drop(request::<items::SearchRequest>(body).map(|request| request.probe()));
    drop(request::<tables::CreateRequest>(body));
    drop(request::<tables::UpdateRequest>(body));
    drop(request::<transfer::WriteRequest>(body));
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let message = if error.is_data() { error.to_string() } else { String::new() };
        Fault::new("SerializationException", message)
    })
}

/// A request for a table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TableRequest {
    table_name: Option<String>,
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("ValidationException", message)
}

/// The name of a table, which may be given as its ARN.
fn table_name(name: Option<String>) -> Result<String, Fault> {
    let name = name.ok_or_else(|| {
        invalid(
            "1 validation error detected: Value null at 'tableName' failed to satisfy constraint: \
             Member must not be null",
        )
    })?;
    let name = name.rsplit_once(":table/").map_or(&*name, |(_, name)| name);
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !(3..=255).contains(&name.len()) || !name.bytes().all(is_part) {
        return Err(invalid(
            "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, \
             and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'",
        ));
    }
    Ok(name.to_owned())
}

fn item(json: Option<&Map<String, Json>>, member: &str) -> Result<Item, Fault> {
    let json = json.ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: \
             Member must not be null"
        ))
    })?;
    parse_item(json).map_err(invalid)
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::NotStored(error) => error.into(),
            LeaseError::Sqlite(_) => {
                tracing::error!(error = %crate::retry::describe(&error), "a lease is as it was");
                Fault::internal(error.to_string())
            }
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Unknown(_) => "ResourceNotFoundException",
            Refused::Exists(_) => "ResourceInUseException",
            Refused::Tables => "LimitExceededException",
            Refused::Full => "ItemCollectionSizeLimitExceededException",
            Refused::Invalid(_) => "ValidationException",
            Refused::Failed => "ConditionalCheckFailedException",
        };
        Fault::new(kind, refused.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_operation() {
        let page = include_str!("../../../docs/kinesis.md");
        for operation in Operation::ALL {
            let name = operation.name().strip_prefix("DynamoDB.").unwrap();
            assert_eq!(Operation::parse(name), Some(*operation));
            assert!(page.contains(&format!("`{name}`")), "docs/kinesis.md lacks {name}");
        }
    }

    #[test]
    fn tables_are_meant_by_name_or_by_arn() {
        let named = |name: &str| table_name(Some(name.to_owned()));
        assert_eq!(named("arn:aws:dynamodb:eu-west-1:000000000000:table/app.1").unwrap(), "app.1");
        for wrong in ["ab", "a b c", "", &"a".repeat(256)] {
            assert_eq!(named(wrong).unwrap_err().kind, "ValidationException", "{wrong}");
        }
        assert_eq!(table_name(None).unwrap_err().kind, "ValidationException");
    }
}
