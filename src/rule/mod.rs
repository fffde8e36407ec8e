//! Text → checked rules.
//!
//! `parse` turns text into the tree of [`ast`], `check` proves what can be proved before anything
//! runs, and [`Rule`] is what both approved. Nothing here evaluates.

pub mod ast;
pub mod function;

use std::path::PathBuf;
use std::sync::Arc;

use ast::CreateRule;
use ast::SqlVersion;

/// A checked rule: the engine compiles it without being able to fail.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The statement.
    pub definition: CreateRule,
    /// The SQL version it is evaluated under.
    pub version: SqlVersion,
    /// The statement's own text.
    pub text: String,
    /// The file it came from; `None` for text given on a command line.
    pub file: Option<PathBuf>,
    /// Line of the statement in the file, from 1.
    pub line: usize,
}

impl Rule {
    /// The rule's name.
    pub fn name(&self) -> &Arc<str> {
        &self.definition.name.node.0
    }
}
