//! Tables that UPSERT writes, as rules read them.
//!
//! Where the values are is nothing that an engine knows: whoever runs it gives it [`LatestValues`]. A
//! value is the text that was put, and is decoded when a rule looks at it.

use std::fmt::Debug;

use bytes::Bytes;

use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader;

/// What UPSERT has put and a crash cannot take back.
pub trait LatestValues: Debug + Send + Sync {
    /// The last value of a key.
    fn get(&self, table: &str, key: &str) -> Option<Bytes>;
}

/// The row of a key as a value; Undefined for an output that is no JSON.
pub(super) fn row(
    latest: Option<&dyn LatestValues>,
    table: &str,
    key: &str,
    whole: Whole,
) -> Option<Value> {
    let text = latest?.get(table, key)?;
    Some(json_reader::parse(&text, whole).unwrap_or_default())
}
