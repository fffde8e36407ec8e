//! A whole rule set: all files together.
//!
//! In: the bytes of the files and the targets that the configuration declares. Out: the checked
//! rules and everything that is wrong, in one go. Pure: files are read elsewhere, those that
//! statements name through [`NamedFiles`]. Loading is all or
//! nothing: while [`Checked::has_errors`], nothing of it may run. Beside the checks of each rule
//! this judges what only all rules together show: names given twice, targets, and rules that
//! republish to one another.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Rule;
use super::ast::CreateRule;
use super::ast::CreateTable;
use super::ast::Span;
use super::aws_document;
use super::aws_document::Notation;
use super::check;
use super::check::Context;
use super::parse;
use super::parse::Parsed;
use super::republish;
use super::schema::Descriptors;
use super::schema::Schemas;
use super::table;
use super::table::NamedFiles;
use super::table::ReadTables;
use super::table::Tables;
use super::target::Fed;
use super::target::Known;
use super::target::TargetKind;
use super::target::TargetName;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::nearest;
use crate::limits::FINDINGS_PER_FILE_MAX;
use crate::limits::RULE_FILE_BYTES_MAX;
use crate::limits::RULES_MAX;

/// A rule file, or why there is none.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it stands, as shown to the user.
    pub path: PathBuf,
    /// Its bytes, or what was wrong with reading them.
    pub content: Result<Vec<u8>, Diagnostic>,
}

impl Source {
    /// The text, for excerpts; empty when there is none.
    pub fn text(&self) -> &str {
        let bytes = self.content.as_deref().unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Its statements; those of its documents when it is called as these are.
    pub fn parse(&self) -> Parsed {
        match self.notation() {
            Some(notation) => {
                let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
                aws_document::parse(self.text(), notation, &stem)
            }
            None => parse::parse_file(self.text()),
        }
    }

    /// Whether it is called as AWS rule documents are: `*.json`, `*.yaml`, `*.yml` or `*.template`.
    pub fn is_document(&self) -> bool {
        self.notation().is_some()
    }

    fn notation(&self) -> Option<Notation> {
        Notation::of(self.path.extension()?.to_str()?, self.text())
    }
}

/// What the configuration declares, and what an undeclared target gets.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// `[hook.NAME]`; a hook must be declared.
    pub hooks: BTreeSet<String>,
    /// `[secret.NAME]`; a secret must be declared.
    pub secrets: BTreeSet<String>,
    /// Hooks and secrets count as declared: for commands that call and tell none.
    pub is_open: bool,
    /// `shadow.table`: the table of `get_thing_shadow()`.
    pub shadows: String,
    /// `[stream.NAME]`
    pub streams: BTreeSet<String>,
    /// `[delivery.NAME]`
    pub deliveries: BTreeSet<String>,
    /// Shards of a stream that is not declared.
    pub default_shards: u32,
    /// Retention of a stream that is not declared.
    pub default_retention: Duration,
    /// Buffer size of a delivery that is not declared, bytes.
    pub default_buffer_bytes: usize,
    /// Buffer interval of a delivery that is not declared.
    pub default_buffer_interval: Duration,
}

/// The outcome.
#[derive(Debug, Default)]
pub struct Checked {
    /// Rules without errors, disabled ones too, in the order of the files.
    pub rules: Vec<Arc<Rule>>,
    /// The tables, which the rules have too.
    pub tables: Arc<Tables>,
    /// The files that statements name, in the order of the statements.
    pub named: Vec<Source>,
    /// What was found: the index of the source, and the finding. In the order of the sources; the
    /// files of `named` are counted behind them.
    pub diagnostics: Vec<(usize, Diagnostic)>,
}

impl Checked {
    /// Whether something must be mended before the set may run.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|(_, found)| found.severity == Severity::Error)
    }
}

/// What files were parsed to. One that reads as before is not parsed again, so that a reload takes time
/// for what has changed. It holds the files of the last set, and shares their trees with its rules.
#[derive(Debug, Default)]
pub struct Parses(HashMap<PathBuf, ParsedFile>);

/// A file as it was read, and what it was parsed to.
#[derive(Debug)]
struct ParsedFile {
    bytes: Vec<u8>,
    rules: Vec<Arc<CreateRule>>,
    rest: Parsed,
}

impl ParsedFile {
    fn of(source: &Source, text: &str) -> ParsedFile {
        let mut rest = source.parse();
        let rules = rest.rules.drain(..).map(Arc::new).collect();
        ParsedFile { bytes: text.as_bytes().to_vec(), rules, rest }
    }
}

/// Checks `sources` as one rule set; the files that they name are read from `files`.
pub fn check(sources: &[Source], targets: &Targets, files: &mut dyn NamedFiles) -> Checked {
    check_again(sources, targets, files, &mut Parses::default())
}

/// As [`check()`], of a set that may have been checked before.
pub fn check_again(
    sources: &[Source],
    targets: &Targets,
    files: &mut dyn NamedFiles,
    parses: &mut Parses,
) -> Checked {
    let mut known = std::mem::take(parses);
    let mut set = Set {
        targets,
        statements: Vec::new(),
        unsound: Vec::new(),
        created: Vec::new(),
        found: vec![Vec::new(); sources.len()],
    };
    for (source, file) in sources.iter().enumerate() {
        match text_of(file) {
            Ok(text) => {
                let parsed = known.0.remove(&file.path);
                let parsed = parsed.filter(|known| known.bytes == text.as_bytes());
                let parsed = parsed.unwrap_or_else(|| ParsedFile::of(file, text));
                set.statements_of(source, file, text, &parsed);
                parses.0.insert(file.path.clone(), parsed);
            }
            Err(diagnostic) => set.found[source].push(diagnostic),
        }
    }
    let mut tables = set.read_tables(files);
    tables.tables.add_latest(set.upserted(), &targets.shadows);
    set.read_schemas(sources, files);
    set.rules(sources, &tables);
    set.names(sources);
    set.targets();
    for (statement, diagnostic) in republish::loops(&set.enabled()) {
        set.found[statement].push(diagnostic);
    }
    let is_note = |found: &Diagnostic| found.severity == Severity::Note;
    let nothing = set.statements.is_empty()
        && set.created.is_empty()
        && set.found.iter().flatten().all(is_note);
    if let (true, Some(first)) = (nothing, set.found.first_mut()) {
        first.push(
            Diagnostic::warning(Code::NO_RULES, "there are no rules")
                .at(0..0, "")
                .help("a rule file holds statements like CREATE RULE name AS SELECT … DO …;"),
        );
    }
    set.finish(sources, tables)
}

/// The text of a file, or why it is none.
fn text_of(file: &Source) -> Result<&str, Diagnostic> {
    let bytes = match &file.content {
        Ok(bytes) => bytes,
        Err(diagnostic) => return Err(diagnostic.clone()),
    };
    if bytes.len() > RULE_FILE_BYTES_MAX {
        return Err(Diagnostic::error(Code::FILE, "the file is too large for a rule file")
            .help(format!("a rule file has at most {RULE_FILE_BYTES_MAX} bytes")));
    }
    if bytes.contains(&0) {
        return Err(Diagnostic::error(Code::FILE, "this is a binary file, not a rule file"));
    }
    utf8(bytes)
}

/// The bytes as text, or where they are none.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Diagnostic> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let line = bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        Diagnostic::error(
            Code::FILE,
            format!("the file is not UTF-8: byte {} on line {line} fits nowhere", at + 1),
        )
        .help("save it as UTF-8")
    })
}

struct Statement {
    source: usize,
    rule: Arc<CreateRule>,
    schemas: Schemas,
    text: String,
    line: usize,
}

struct Set<'s> {
    targets: &'s Targets,
    statements: Vec<Statement>,
    /// Rules that are good for nothing but further errors.
    unsound: Vec<(usize, CreateRule)>,
    /// `CREATE TABLE`, with the number and path of the rule file.
    created: Vec<(usize, PathBuf, CreateTable)>,
    /// By source.
    found: Vec<Vec<Diagnostic>>,
}

impl Set<'_> {
    fn statements_of(&mut self, source: usize, file: &Source, text: &str, parsed: &ParsedFile) {
        let is_document = file.is_document();
        let found = &mut self.found[source];
        found.extend(parsed.rest.diagnostics.iter().cloned());
        self.unsound.extend(parsed.rest.unsound.iter().map(|rule| (source, rule.clone())));
        let tables = parsed.rest.tables.iter().cloned();
        let created = tables.map(|table| (source, file.path.clone(), table));
        self.created.extend(created);
        let mut line = 1;
        let mut counted = 0;
        for rule in &parsed.rules {
            if self.statements.len() == RULES_MAX {
                found.push(
                    Diagnostic::error(Code::SIZE, format!("more than {RULES_MAX} rules"))
                        .at(rule.name.span.clone(), "the first too many")
                        .help("run a second gateway for the others"),
                );
                return;
            }
            let skipped = text.get(counted..rule.span.start).unwrap_or_default();
            line += skipped.matches('\n').count();
            counted = rule.span.start;
            let text = match is_document {
                true => rule.to_string(),
                false => text.get(rule.span.clone()).unwrap_or_default().to_owned(),
            };
            let (rule, schemas) = (Arc::clone(rule), Schemas::default());
            self.statements.push(Statement { source, rule, schemas, text, line });
        }
    }

    fn read_tables(&mut self, files: &mut dyn NamedFiles) -> ReadTables {
        let mut read = table::read(&self.created, files);
        for (source, diagnostic) in read.in_rules.drain(..) {
            self.found[source].push(diagnostic);
        }
        read
    }

    /// The tables that some rule's UPSERT names as they are.
    fn upserted(&self) -> impl Iterator<Item = &str> {
        let sound = self.statements.iter().map(|statement| &*statement.rule);
        let rules = sound.chain(self.unsound.iter().map(|(_, rule)| rule));
        let targets = rules.flat_map(CreateRule::all_actions);
        let targets = targets.filter_map(|action| TargetKind::of(&action.node));
        let tables = targets.filter(|(kind, _)| *kind == TargetKind::Table);
        tables.filter_map(|(_, name)| name.node.fixed())
    }

    /// Finds the Protobuf types of each rule.
    fn read_schemas(&mut self, sources: &[Source], files: &mut dyn NamedFiles) {
        let mut descriptors = Descriptors::new(files);
        for statement in &mut self.statements {
            let Some(by) = sources.get(statement.source) else { continue };
            let found = &mut self.found[statement.source];
            statement.schemas = descriptors.schemas(&statement.rule, &by.path, found);
        }
    }

    /// Checks each rule by itself.
    fn rules(&mut self, sources: &[Source], read: &ReadTables) {
        let text = |source: usize| sources.get(source).map(Source::text).unwrap_or_default();
        let context = Context { tables: &read.tables, targets: self.targets };
        for statement in &self.statements {
            let found = &mut self.found[statement.source];
            check::create_rule(&statement.rule, text(statement.source), context, found);
        }
        for (source, rule) in &self.unsound {
            let mut further = Vec::new();
            check::create_rule(rule, text(*source), context, &mut further);
            // What only seems so because of the gaps is never more than a note.
            further.retain(|found| found.severity != Severity::Note);
            self.found[*source].append(&mut further);
        }
    }

    /// Rule names are unique over all files, without regard to case: they become metrics and rows.
    fn names(&mut self, sources: &[Source]) {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for (index, statement) in self.statements.iter().enumerate() {
            let name = &statement.rule.name;
            let first = *known.entry(name.node.0.to_ascii_lowercase()).or_insert(index);
            if first == index {
                continue;
            }
            let other = &self.statements[first];
            let message = format!("there is already a rule {}", other.rule.name.node);
            let twice = Diagnostic::error(Code::DUPLICATE_RULE, message)
                .at(name.span.clone(), "the second of that name")
                .help("names are unique over all rule files; rename one");
            let twice = if other.source == statement.source {
                twice.also(other.rule.name.span.clone(), "the first")
            } else {
                let path = sources.get(other.source).map(|file| file.path.display());
                let path = path.map(|path| path.to_string()).unwrap_or_default();
                Diagnostic { message: format!("{} in {path}", twice.message), ..twice }
            };
            self.found[statement.source].push(twice);
        }
    }

    fn targets(&mut self) {
        let mut known = Known::new(self.targets, []);
        for statement in &self.statements {
            known.add(&statement.rule);
        }
        let fed = Fed::of(self.targets, self.statements.iter().map(|statement| &*statement.rule));
        let mut told = BTreeSet::new();
        for statement in &self.statements {
            let found = &mut self.found[statement.source];
            if let Some(source) = &statement.rule.select.stream {
                let name = &source.name;
                if !self.targets.streams.contains(&name.node)
                    && told.insert(("stream", name.node.as_str()))
                {
                    found.push(new_stream(&name.node, &name.span, self.targets));
                }
                found.extend(fed.judge(name));
            }
            for action in statement.rule.all_actions() {
                let Some((kind, target)) = TargetKind::of(&action.node) else { continue };
                let name = match &target.node {
                    TargetName::Fixed(name) => name,
                    TargetName::Dynamic(template) => {
                        found.extend(known.judge(kind, template, target));
                        continue;
                    }
                };
                let span = &target.span;
                match kind {
                    TargetKind::Hook => found.extend(hook(name, span, self.targets)),
                    TargetKind::Stream
                        if !self.targets.streams.contains(name)
                            && told.insert(("stream", name.as_str())) =>
                    {
                        found.push(new_stream(name, span, self.targets));
                    }
                    TargetKind::Delivery
                        if !self.targets.deliveries.contains(name)
                            && told.insert(("delivery", name.as_str())) =>
                    {
                        found.push(new_delivery(name, span, self.targets));
                    }
                    TargetKind::Table if told.insert(("table", name.as_str())) => {
                        found.push(new_table(name, span));
                    }
                    TargetKind::Stream | TargetKind::Delivery | TargetKind::Table => {}
                }
            }
        }
    }

    fn enabled(&self) -> Vec<(usize, &CreateRule)> {
        let enabled = self.statements.iter().filter(|statement| !statement.rule.disabled);
        enabled.map(|statement| (statement.source, &*statement.rule)).collect()
    }

    fn finish(mut self, sources: &[Source], read: ReadTables) -> Checked {
        let mut checked = Checked { tables: Arc::new(read.tables), ..Checked::default() };
        for (file, found) in read.files {
            checked.named.push(file);
            self.found.push(found);
        }
        for (source, mut found) in self.found.into_iter().enumerate() {
            if sources.get(source).is_some_and(Source::is_document) {
                found.iter_mut().for_each(aws_document::reword);
            }
            let left_out = found.len().saturating_sub(FINDINGS_PER_FILE_MAX);
            if left_out > 0 {
                found.sort_by_key(|diagnostic| diagnostic.severity);
                found.truncate(FINDINGS_PER_FILE_MAX);
            }
            found.sort_by_key(|diagnostic| diagnostic.labels.first().map(|l| l.span.start));
            if left_out > 0 {
                let more = format!("{left_out} more findings in this file are not shown");
                found.push(Diagnostic::note(Code::SIZE, more));
            }
            checked.diagnostics.extend(found.into_iter().map(|diagnostic| (source, diagnostic)));
        }
        let rules = self.statements.into_iter().map(|statement| {
            Arc::new(Rule {
                version: statement.rule.strict.unwrap_or_default(),
                tables: Arc::clone(&checked.tables),
                schemas: statement.schemas,
                definition: statement.rule,
                text: statement.text,
                file: sources.get(statement.source).map(|file| file.path.clone()),
                line: statement.line,
                switch: None,
            })
        });
        checked.rules = rules.collect();
        checked
    }
}

/// What is wrong with naming the hook `name`.
pub(super) fn hook(name: &str, span: &Span, targets: &Targets) -> Option<Diagnostic> {
    if targets.is_open || targets.hooks.contains(name) {
        return None;
    }
    let declare = format!("declare it in tidegate.toml: [hook.{}] with url = \"http://…\"", name);
    let help = match nearest(name, targets.hooks.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}? Or {declare}"),
        None => declare,
    };
    Some(
        Diagnostic::error(Code::UNDECLARED_HOOK, format!("no hook {} is declared", name))
            .at(span.clone(), "")
            .help(help),
    )
}

fn new_stream(name: &str, span: &Span, targets: &Targets) -> Diagnostic {
    let hours = targets.default_retention.as_secs() / 3600;
    let message = format!(
        "stream {} will be created with {} shards and {hours} h retention",
        name, targets.default_shards
    );
    let help = format!("declare [stream.{}] in tidegate.toml to choose", name);
    Diagnostic::note(Code::DEFAULT_TARGET, message).at(span.clone(), "").help(help)
}

fn new_table(name: &str, span: &Span) -> Diagnostic {
    let message = format!("table {name} keeps the last value of each key");
    let help = "rules.table_keys_max in tidegate.toml bounds the keys of a table".to_owned();
    Diagnostic::note(Code::DEFAULT_TARGET, message).at(span.clone(), "").help(help)
}

fn new_delivery(name: &str, span: &Span, targets: &Targets) -> Diagnostic {
    let message = format!(
        "delivery {} will be created; it flushes at {} MiB or after {} s",
        name,
        targets.default_buffer_bytes / (1024 * 1024),
        targets.default_buffer_interval.as_secs()
    );
    let help = format!("declare [delivery.{}] in tidegate.toml to choose", name);
    Diagnostic::note(Code::DEFAULT_TARGET, message).at(span.clone(), "").help(help)
}
