//! The tables of a rule set, looked up by rules: reference tables, named once and read through
//! [`NamedFiles`], and those that UPSERT writes, which are there when some rule names them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use compact_str::CompactString;

use super::Table;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::limits::TABLE_FILE_BYTES_MAX;
use crate::limits::TABLE_FILES_BYTES_MAX;
use crate::limits::TABLE_KEY_COLUMNS_MAX;
use crate::limits::TABLES_MAX;
use crate::rule::ast::CreateTable;
use crate::rule::ast::Spanned;
use crate::rule::set::Source;

/// Reads the files that statements name: `rule` itself opens none.
pub trait NamedFiles {
    /// The file `name` as the rule file `by` writes it, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// The name leads nowhere that may be read. A file that is there and cannot be read is a
    /// [`Source`] with a diagnostic for content: it may become readable.
    fn read(&mut self, by: &Path, name: &str, bytes_max: usize) -> Result<Source, Diagnostic>;
}

/// For rule sets that stand in no folder: every file is refused.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl NamedFiles for NoFiles {
    fn read(&mut self, _by: &Path, _name: &str, _max: usize) -> Result<Source, Diagnostic> {
        Err(Diagnostic::error(Code::FILE, "there is no folder to read this file from"))
    }
}

/// What the key of a table that UPSERT writes is called, in ON and elsewhere.
pub const LATEST_KEY: &str = "key";

/// Where a row is found.
#[derive(Clone, Debug)]
pub enum RowSource {
    /// A reference table.
    Reference(Arc<Table>),
    /// A table that UPSERT writes, by its name.
    Latest(Arc<str>),
}

impl RowSource {
    /// The columns that a row is found by.
    pub fn key(&self) -> &[CompactString] {
        const OF_LATEST: &[CompactString] = &[CompactString::const_new(LATEST_KEY)];
        match self {
            RowSource::Reference(table) => table.key(),
            RowSource::Latest(_) => OF_LATEST,
        }
    }
}

/// The tables of a rule set, by name.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `None` for a table whose file is wrong: to rules it is there, with unknown columns.
    by_name: BTreeMap<String, Option<Arc<Table>>>,
    /// Those that UPSERT writes.
    latest: BTreeSet<Arc<str>>,
    /// Which of them has the shadows of things.
    shadows: String,
}

impl Tables {
    /// The table of that name; `None` for one whose file is wrong.
    ///
    /// # Errors
    /// There is no table of that name, or there are two.
    pub(in crate::rule) fn find(
        &self,
        name: &Spanned<String>,
    ) -> Result<Option<RowSource>, Diagnostic> {
        let (table, span) = (&name.node, name.span.clone());
        let is_latest = self.latest.contains(table.as_str());
        if is_latest && self.by_name.contains_key(table) {
            let message = format!("{table} is two tables: CREATE TABLE makes one, UPSERT another");
            let twice = Diagnostic::error(Code::AMBIGUOUS_TABLE, message);
            return Err(twice.at(span, "either of them").help("rename one of them"));
        }
        if is_latest || self.by_name.contains_key(table) {
            return Ok(self.get(table));
        }
        let known = self.by_name.keys().map(String::as_str);
        let known = known.chain(self.latest.iter().map(|name| &**name));
        let create = format!(
            "create it: CREATE TABLE {table} FROM 'file.csv' KEY column; or write it: DO UPSERT \
             {table} KEY expr"
        );
        let help = match nearest(table, known) {
            Some(near) => format!("did you mean {near}? Or {create}"),
            None => create,
        };
        let unknown = Diagnostic::error(Code::UNKNOWN_TABLE, format!("there is no table {table}"));
        Err(unknown.at(span, "").help(help))
    }

    /// Where rows of the table of that name are found; `None` where there is none, or none without
    /// an error.
    pub fn get(&self, name: &str) -> Option<RowSource> {
        match self.by_name.get(name) {
            Some(table) => table.clone().map(RowSource::Reference),
            None => self.latest.get(name).cloned().map(RowSource::Latest),
        }
    }

    /// The reference table of that name, if there is one and its file is right.
    pub(in crate::rule) fn reference(&self, name: &str) -> Option<&Arc<Table>> {
        self.by_name.get(name)?.as_ref()
    }

    /// The name of the table that has the shadows of things.
    pub fn shadows(&self) -> &str {
        &self.shadows
    }

    /// Adds tables that UPSERT writes, and says which one has the shadows of things.
    pub(in crate::rule) fn add_latest<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
        shadows: &str,
    ) {
        self.latest.extend(names.into_iter().map(Arc::from));
        shadows.clone_into(&mut self.shadows);
    }

    /// The reference tables, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.by_name.values().flatten()
    }
}

/// What reading the tables of a set gave.
#[derive(Default)]
pub(in crate::rule) struct ReadTables {
    pub(in crate::rule) tables: Tables,
    /// The files, with what was found in each.
    pub(in crate::rule) files: Vec<(Source, Vec<Diagnostic>)>,
    /// What was found in rule files, by source.
    pub(in crate::rule) in_rules: Vec<(usize, Diagnostic)>,
}

/// Reads the tables of `statements`, which come with the number and path of their rule files.
pub(in crate::rule) fn read(
    statements: &[(usize, PathBuf, CreateTable)],
    files: &mut dyn NamedFiles,
) -> ReadTables {
    let mut read = ReadTables::default();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut left = TABLE_FILES_BYTES_MAX;
    for (number, (source, path, statement)) in statements.iter().enumerate() {
        if let Some(surplus) = surplus(number, statement) {
            read.in_rules.push((*source, surplus));
            return read;
        }
        let first = *names.entry(statement.name.node.to_ascii_lowercase()).or_insert(number);
        if let (true, Some(first)) = (first != number, statements.get(first)) {
            read.in_rules.push((*source, twice(statement, *source, first)));
            continue;
        }
        let table = table(*source, path, statement, &mut left, files, &mut read);
        read.tables.by_name.insert(statement.name.node.clone(), table.map(Arc::new));
    }
    read
}

fn table(
    source: usize,
    path: &Path,
    statement: &CreateTable,
    left: &mut usize,
    files: &mut dyn NamedFiles,
    read: &mut ReadTables,
) -> Option<Table> {
    let place = statement.file.span.clone();
    let bound = TABLE_FILE_BYTES_MAX.min(*left);
    let file = match files.read(path, &statement.file.node, bound) {
        Ok(file) => file,
        Err(refused) => {
            read.in_rules.push((source, refused.at(place, "")));
            return None;
        }
    };
    let (mut in_file, mut in_rules) = (Vec::new(), Vec::new());
    let table = match &file.content {
        Err(unreadable) => {
            in_rules.push(unreadable.clone().at(place, ""));
            None
        }
        Ok(bytes) => {
            *left = left.saturating_sub(bytes.len());
            Table::read(statement, bytes, &mut in_file, &mut in_rules)
        }
    };
    read.in_rules.extend(in_rules.into_iter().map(|found| (source, found)));
    read.files.push((file, in_file));
    table
}

fn surplus(number: usize, statement: &CreateTable) -> Option<Diagnostic> {
    let (what, place) = if number == TABLES_MAX {
        (format!("more than {TABLES_MAX} tables"), statement.name.span.clone())
    } else {
        let column = statement.key.get(TABLE_KEY_COLUMNS_MAX)?;
        (format!("a key has at most {TABLE_KEY_COLUMNS_MAX} columns"), column.span.clone())
    };
    Some(Diagnostic::error(Code::SIZE, what).at(place, "the first too many"))
}

fn twice(
    statement: &CreateTable,
    source: usize,
    (other, path, first): &(usize, PathBuf, CreateTable),
) -> Diagnostic {
    let message = format!("there is already a table {}", first.name.node);
    let twice = Diagnostic::error(Code::DUPLICATE_TABLE, message)
        .at(statement.name.span.clone(), "the second of that name")
        .help("names are unique over all rule files; rename one");
    if *other == source {
        return twice.also(first.name.span.clone(), "the first");
    }
    Diagnostic { message: format!("{} in {}", twice.message, path.display()), ..twice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::set;
    use crate::rule::set::Targets;

    /// Every file has one row, of five columns.
    struct OneRow;

    impl NamedFiles for OneRow {
        fn read(&mut self, _by: &Path, name: &str, _max: usize) -> Result<Source, Diagnostic> {
            Ok(Source { path: name.into(), content: Ok(b"a,b,c,d,e\n1,2,3,4,5\n".to_vec()) })
        }
    }

    fn codes(text: String) -> Vec<Code> {
        let source = Source { path: "t.rule".into(), content: Ok(text.into_bytes()) };
        let checked = set::check(&[source], &Targets::default(), &mut OneRow);
        checked.diagnostics.iter().map(|(_, found)| found.code).collect()
    }

    #[test]
    fn a_set_has_so_many_tables_and_a_key_so_many_columns() {
        let tables = |count: usize| {
            (0..count).map(|n| format!("CREATE TABLE t{n} FROM 't.csv' KEY a;\n")).collect()
        };
        assert_eq!(codes(tables(TABLES_MAX)), []);
        assert_eq!(codes(tables(TABLES_MAX + 1)), [Code::SIZE]);
        let key = |columns: usize| {
            let columns = ["a", "b", "c", "d", "e"][..columns].join(", ");
            format!("CREATE TABLE t FROM 't.csv' KEY {columns};")
        };
        assert_eq!(codes(key(TABLE_KEY_COLUMNS_MAX)), []);
        assert_eq!(codes(key(TABLE_KEY_COLUMNS_MAX + 1)), [Code::SIZE]);
    }
}
