//! The schema, version by version.
//!
//! Each noun keeps its tables' SQL beside the code that reads them; version 1 is all of the first. A
//! released version is never edited: what changes later is a further entry.

use rusqlite::Connection;
use rusqlite::TransactionBehavior;

/// One step: everything that makes the schema of its version from the one before it.
type Step = &'static [&'static str];

const STEPS: &[Step] = &[
    &[
        crate::stream::SCHEMA,
        crate::delivery::SCHEMA,
        crate::lambda::SCHEMA,
        crate::checkpoint::SCHEMA,
        crate::retained::SCHEMA,
        crate::hit_log::SCHEMA,
    ],
    &[crate::checkpoint::WAITING_SCHEMA],
    &[crate::latest::SCHEMA],
    &[crate::stream::CONSUMER_SCHEMA],
    &[crate::checkpoint::HISTORY_SCHEMA],
    &[crate::stream::RUN_SCHEMA],
    &[crate::session::SCHEMA, crate::retained::EXPIRY_SCHEMA],
    &[crate::lambda::LETTERS_SCHEMA],
    &[crate::checkpoint::SWITCH_SCHEMA],
    &[crate::stream::LINEAGE_SCHEMA],
    &[crate::stream::REGISTERED_SCHEMA, crate::stream::MONITORING_SCHEMA],
    &[crate::lease::SCHEMA],
    &[crate::delivery::PARTITION_SCHEMA],
    &[crate::delivery::FORM_SCHEMA],
    &[crate::stream::ENCRYPTION_SCHEMA],
    &[crate::delivery::MADE_SCHEMA],
];

/// The version this program reads and writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Brings an empty or older database to [`VERSION`], all or nothing.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(STEPS.len());
    for step in STEPS.iter().skip(done) {
        for sql in *step {
            transaction.execute_batch(sql)?;
        }
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
