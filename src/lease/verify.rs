//! Checking the tables of leases: what can be seen without changing anything.

use crate::storage::ReadConnection;
use crate::storage::SqliteError;

use super::table;

/// What is wrong with the tables, as clauses that name them; a page of items is looked at in one snapshot with its
/// table, of which there are at most [`crate::limits::LEASE_TABLE_BYTES_MAX`] bytes.
///
/// # Errors
/// SQLite fails.
pub fn verify(connection: &ReadConnection) -> Result<Vec<String>, SqliteError> {
    let snapshot = connection.sqlite().unchecked_transaction()?;
    let mut told = Vec::new();
    let mut after = String::new();
    loop {
        let names = table::names(&snapshot, &after, 1)?;
        let Some(name) = names.into_iter().next() else { break };
        table::verify(&snapshot, &name, &mut told)?;
        after = name;
    }
    let strays: i64 = snapshot.query_row(
        "SELECT count(*) FROM lease_item WHERE lease_table NOT IN (SELECT id FROM lease_table)",
        [],
        |row| row.get(0),
    )?;
    if strays > 0 {
        told.push(format!("{strays} items belong to no table of leases"));
    }
    Ok(told)
}
