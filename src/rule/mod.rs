//! Text → checked rules.
//!
//! [`set::check`] takes the text of all rule files and answers checked [`Rule`]s and every
//! diagnostic; [`Rule::from_select`] does so for one bare SELECT. [`table`] holds what JOIN finds. On the way `parse` turns text into
//! the tree of [`ast`], and `check` proves what can be proved before anything runs. Nothing here
//! evaluates, and nothing reads a file.

pub mod aggregate;
pub mod analytic;
pub mod ast;
pub mod aws_document;
#[cfg(test)]
mod bound_tests;
mod check;
pub mod function;
pub(crate) mod grouping;
pub mod java_regex;
mod join;
pub mod parse;
mod print;
mod republish;
mod scan;
pub mod schema;
pub mod service;
pub mod set;
pub mod switch;
pub mod table;
pub mod target;
pub mod time_pattern;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ast::CreateRule;
use ast::RuleName;
use ast::Spanned;
use ast::SqlVersion;
use ast::StreamSource;
use target::TargetKind;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use schema::Descriptors;
use schema::Schemas;
use switch::Switch;
use table::NamedFiles;
use table::Table;
use table::Tables;

/// A checked rule: the engine compiles it without being able to fail.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The statement.
    pub definition: Arc<CreateRule>,
    /// The SQL version it is evaluated under.
    pub version: SqlVersion,
    /// The tables of its set.
    pub tables: Arc<Tables>,
    /// The Protobuf types that it names.
    pub schemas: Schemas,
    /// The statement's own text.
    pub text: String,
    /// The file it came from; `None` for text given on a command line.
    pub file: Option<PathBuf>,
    /// Line of the statement in the file, from 1.
    pub line: usize,
    /// What somebody has set by hand against the text.
    pub switch: Option<Switch>,
}

impl Rule {
    /// A rule without actions from a bare SELECT, as `eval` gets it, which may join `tables` and name
    /// Protobuf types of `files`.
    /// Everything wrong is told at once.
    pub fn from_select(
        name: &str,
        sql: &str,
        version: SqlVersion,
        tables: &Arc<Tables>,
        files: &mut dyn NamedFiles,
    ) -> Result<Rule, Vec<Diagnostic>> {
        let select = parse::parse_select(sql)?;
        if let Some(when) = &select.when {
            let wrong = Diagnostic::error(Code::STATEMENT, "WHEN watches over time")
                .at(when.span.clone(), "a bare SELECT is evaluated over one message")
                .help("take WHEN out, or run the whole rule with `tidegate simulate`");
            return Err(vec![wrong]);
        }
        if let Some(group) = &select.group {
            let wrong = Diagnostic::error(Code::STATEMENT, "GROUP BY gathers over time")
                .at(group.span.clone(), "a bare SELECT is evaluated over one message")
                .help("take GROUP BY out, or run the whole rule with `tidegate simulate`");
            return Err(vec![wrong]);
        }
        let mut found = Vec::new();
        check::bare_select(&select, version, sql, tables, &mut found);
        let span = select.span.clone();
        let definition = CreateRule {
            name: Spanned { node: RuleName(name.into()), span: 0..0 },
            strict: None,
            description: None,
            disabled: false,
            select,
            actions: Vec::new(),
            on_cleared: Vec::new(),
            on_error: Vec::new(),
            span,
        };
        let schemas = Descriptors::new(files).schemas(&definition, Path::new(""), &mut found);
        if found.iter().any(|wrong| wrong.severity == Severity::Error) {
            return Err(found);
        }
        Ok(Rule {
            definition: Arc::new(definition),
            version,
            tables: Arc::clone(tables),
            schemas,
            text: sql.to_owned(),
            file: None,
            line: 1,
            switch: None,
        })
    }

    /// The streams that its actions name as they are; a name may come twice.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.targets(TargetKind::Stream)
    }

    /// The stream that it reads, where it does.
    pub fn source(&self) -> Option<&StreamSource> {
        self.definition.select.stream.as_ref()
    }

    /// The deliveries that its actions name as they are; a name may come twice.
    pub fn deliveries(&self) -> impl Iterator<Item = &str> {
        self.targets(TargetKind::Delivery)
    }

    fn targets(&self, wanted: TargetKind) -> impl Iterator<Item = &str> {
        let named = self.definition.all_actions().map(|action| TargetKind::of(&action.node));
        let of_kind = named.flatten().filter(move |(kind, _)| *kind == wanted);
        of_kind.filter_map(|(_, name)| name.node.fixed())
    }

    /// The table whose rows NO DATA watches; `None` without FOR EACH ROW OF.
    pub fn listed(&self) -> Option<&Arc<Table>> {
        let table = self.definition.select.when.as_ref()?.each_row.as_ref()?;
        self.tables.reference(&table.node)
    }

    /// The rule's name.
    pub fn name(&self) -> &Arc<str> {
        &self.definition.name.node.0
    }
}
