//! Rule files on disk: found, bounded, read, and checked by [`crate::rule::set`].
//!
//! In: paths of files and folders. Out: a [`Loaded`] set, whose sources stand in the order of the
//! paths and sorted within a folder, so that every machine reports alike. What cannot be read is a
//! source too, with the diagnostic in place of the bytes. Every path that was looked at is in
//! [`Loaded::inputs`], so that a change can be seen. Nothing else of the rule language touches files:
//! those that statements name (tables) are read here too, from the folder of the rule file, and
//! nowhere above the folder that was given.

mod inputs;

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::DeliveryConfig;
use crate::config::StreamConfig;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::render::Finding;
use crate::limits::RULE_FILE_BYTES_MAX;
use crate::limits::RULE_FILES_MAX;
use crate::limits::RULE_FOLDERS_DEEP_MAX;
use crate::rule::set;
use crate::rule::set::Checked;
use crate::rule::set::Parses;
use crate::rule::set::Source;
use crate::rule::set::Targets;
use crate::rule::table::NamedFiles;

pub use inputs::Inputs;

/// A rule set as it was found on disk.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The files, in the order of the diagnostics' indexes: rule files, then those they name.
    pub sources: Vec<Source>,
    /// How many of them are rule files, or lie among these.
    found: usize,
    /// What they hold.
    pub checked: Checked,
    /// Everything on disk that another reading would look at, as it was when it was read.
    pub inputs: Inputs,
    /// What the files were parsed to, for another reading.
    pub parses: Parses,
}

/// Reads and checks the rule set of `paths` against the targets of `config`.
pub fn load(paths: &[PathBuf], config: &Config) -> Loaded {
    load_again(paths, config, Parses::default())
}

/// As [`load`]; what reads as it did when `parses` was made is not parsed again.
pub fn load_again(paths: &[PathBuf], config: &Config, parses: Parses) -> Loaded {
    let mut inputs = Inputs::default();
    let sources = read(paths, &mut inputs);
    check_again(sources, paths, &targets(config), inputs, parses)
}

/// Checks the rule files that [`read`] has read from `paths`, and reads the files that they name.
pub fn check(sources: Vec<Source>, paths: &[PathBuf], targets: &Targets, inputs: Inputs) -> Loaded {
    check_again(sources, paths, targets, inputs, Parses::default())
}

fn check_again(
    mut sources: Vec<Source>,
    paths: &[PathBuf],
    targets: &Targets,
    inputs: Inputs,
    mut parses: Parses,
) -> Loaded {
    let mut folders = Folders { paths, inputs };
    let mut checked = set::check_again(&sources, targets, &mut folders, &mut parses);
    // Nobody takes the file of a table for one of rules.
    let is_named = |source: &Source| checked.named.iter().any(|named| named.path == source.path);
    let tables: Vec<bool> = sources.iter().map(is_named).collect();
    checked.diagnostics.retain(|(source, found)| {
        found.severity != Severity::Note || tables.get(*source) != Some(&true)
    });
    let found = sources.len();
    sources.append(&mut checked.named);
    Loaded { sources, found, checked, inputs: folders.inputs, parses }
}

/// Reads what a statement names that stands in no rule file: from the current folder and below.
pub fn named_here() -> impl NamedFiles {
    Folders { paths: &[], inputs: Inputs::default() }
}

/// Reads what statements name, from the folder of their rule file: below the paths that were given.
struct Folders<'p> {
    paths: &'p [PathBuf],
    inputs: Inputs,
}

impl NamedFiles for Folders<'_> {
    fn read(&mut self, by: &Path, name: &str, bytes_max: usize) -> Result<Source, Diagnostic> {
        let refused =
            |message: &str, help: &str| Err(Diagnostic::error(Code::FILE, message).help(help));
        if name.is_empty() || Path::new(name).is_absolute() {
            return refused(
                "this is no path from the rule file's folder",
                "write it as in FROM 'tables/motes.csv'",
            );
        }
        let folder = by.parent().unwrap_or(Path::new(""));
        // A rule file that was given by itself has its own folder, one out of a folder all of that.
        let given = self.paths.iter().find(|path| by != *path && by.starts_with(path));
        let root = given.map_or(folder, PathBuf::as_path);
        let from_root = folder.strip_prefix(root).unwrap_or(Path::new(""));
        let Some(inside) = below(&from_root.join(name)) else {
            return refused(
                "the path leads out of the folder of the rules",
                "keep the files that rules name beside them",
            );
        };
        let path = root.join(inside);
        self.inputs.note(&path);
        let content = bytes(&path, bytes_max, "to be read here").map_err(|error| {
            Diagnostic::error(Code::FILE, format!("{} cannot be read: {error}", path.display()))
        });
        Ok(Source { content: content.and_then(|bytes| bytes), path })
    }
}

/// The path without `.` and `..`; `None` when it leads above where it begins.
fn below(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !inside.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

impl Loaded {
    /// The files with rules, or what should be: not the file of a table that lies among them, and no document
    /// that is told to be no rule.
    pub fn rule_files(&self) -> impl Iterator<Item = &Source> {
        let (found, named) = self.sources.split_at(self.found.min(self.sources.len()));
        let is_no_rule = |at: usize| {
            let of_it = |(source, found): &(usize, Diagnostic)| {
                *source == at && found.severity == Severity::Note && found.code == Code::NO_RULES
            };
            self.checked.diagnostics.iter().any(of_it)
        };
        let is_passed_over = |source: &Source| matches!(&source.content, Err(found) if found.severity == Severity::Note);
        let is_table = |source: &Source| named.iter().any(|named| named.path == source.path);
        let holds_rules = move |(at, source): &(usize, &Source)| {
            !is_table(source) && !is_passed_over(source) && !is_no_rule(*at)
        };
        found.iter().enumerate().filter(holds_rules).map(|(_, source)| source)
    }

    /// What was found.
    pub fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        self.checked.diagnostics.iter().filter_map(|(source, diagnostic)| {
            let source = self.sources.get(*source)?;
            let file = source.path.display().to_string();
            Some(Finding { file, text: source.text(), diagnostic })
        })
    }
}

/// Reads each of `paths`: a file as it is, a folder with its sub-folders, those of [`RULE_FILES`]. What
/// is looked at is noted in `inputs`.
pub fn read(paths: &[PathBuf], inputs: &mut Inputs) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = sources.len();
            read_folder(path, 0, &mut sources, inputs);
            if sources.len() == before {
                let empty = Diagnostic::warning(Code::NO_RULES, "no rule files in this folder")
                    .help("rule files are called NAME.rule");
                sources.push(Source { path: path.clone(), content: Err(empty) });
            }
        } else {
            sources.push(read_file(path, inputs));
        }
    }
    sources
}

/// The targets that `config` declares, and its defaults for the others.
pub fn targets(config: &Config) -> Targets {
    let (stream, delivery) = (StreamConfig::default(), DeliveryConfig::default());
    Targets {
        hooks: config.hooks.keys().cloned().collect(),
        secrets: config.secrets.keys().cloned().collect(),
        is_open: false,
        shadows: config.shadow.table.clone(),
        streams: config.streams.keys().cloned().collect(),
        deliveries: config.deliveries.keys().cloned().collect(),
        default_shards: stream.shards,
        default_retention: stream.retention,
        default_buffer_bytes: delivery.buffer_bytes,
        default_buffer_interval: delivery.buffer_interval,
    }
}

/// Endings of the names of files that hold rules: ours, and those of AWS rule documents.
const RULE_FILES: [&str; 5] = ["rule", "json", "yaml", "yml", "template"];

/// Whether a file of this name holds rules.
pub(crate) fn is_rule_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| RULE_FILES.iter().any(|known| extension == *known))
}

/// Whether nothing of this name is looked at in a folder.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn read_folder(folder: &Path, depth: usize, sources: &mut Vec<Source>, inputs: &mut Inputs) {
    let refused = |message: String| {
        let content = Err(Diagnostic::error(Code::FILE, message));
        Source { path: folder.to_owned(), content }
    };
    if depth == RULE_FOLDERS_DEEP_MAX {
        let message = format!("more than {RULE_FOLDERS_DEEP_MAX} folders inside one another");
        sources.push(refused(message));
        return;
    }
    inputs.note(folder);
    let mut entries = match list(folder) {
        Ok(entries) => entries,
        Err(error) => {
            sources.push(refused(format!("the folder cannot be read: {error}")));
            return;
        }
    };
    entries.sort();
    for path in entries {
        if sources.len() == RULE_FILES_MAX {
            sources.push(refused(format!("more than {RULE_FILES_MAX} rule files")));
        }
        if sources.len() > RULE_FILES_MAX {
            return;
        }
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            read_folder(&path, depth + 1, sources, inputs);
        } else if is_rule_file(&path) {
            let source = read_file(&path, inputs);
            sources.push(if is_large_table(&source) { passed_over(source) } else { source });
        }
    }
}

/// Whether it is a document beyond what one of rules may be, such as the rows of a table.
fn is_large_table(source: &Source) -> bool {
    let is_large = |length: u64| length > RULE_FILE_BYTES_MAX as u64;
    source.is_document() && fs::metadata(&source.path).is_ok_and(|found| is_large(found.len()))
}

/// A file that lies among rules is no rule that cannot be read.
fn passed_over(source: Source) -> Source {
    let content = source.content.map_err(|found| Diagnostic { severity: Severity::Note, ..found });
    Source { content, ..source }
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn read_file(path: &Path, inputs: &mut Inputs) -> Source {
    inputs.note(path);
    let content = bytes(path, RULE_FILE_BYTES_MAX, "for a rule file").map_err(|error| {
        Diagnostic::error(Code::FILE, format!("the rule file cannot be read: {error}"))
    });
    Source { path: path.to_owned(), content: content.and_then(|bytes| bytes) }
}

/// The bytes; a file with more than `bytes_max` is refused unread, as too large `for_what`.
fn bytes(path: &Path, bytes_max: usize, for_what: &str) -> io::Result<Result<Vec<u8>, Diagnostic>> {
    // Opening a named pipe would wait for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(Err(Diagnostic::error(Code::FILE, "this is not a file of text")));
    }
    let file = File::open(path)?;
    let too_large = |length: usize| {
        let message = format!("the file has {length} bytes, too many {for_what}");
        let help = format!("at most {bytes_max} bytes are read");
        Ok(Err(Diagnostic::error(Code::FILE, message).help(help)))
    };
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > bytes_max {
        return too_large(length);
    }
    // One byte more, so that a file that grows meanwhile (or is a device) is seen to be too large.
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::with_capacity(length);
    file.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { too_large(bytes.len()) } else { Ok(Ok(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DESCRIPTOR_BYTES_MAX;
    use crate::limits::TABLE_FILE_BYTES_MAX;

    fn names(sources: &[Source], root: &Path) -> Vec<(String, bool)> {
        let name = |source: &Source| {
            let path = source.path.strip_prefix(root).unwrap_or(&source.path);
            (path.display().to_string(), source.content.is_ok())
        };
        sources.iter().map(name).collect()
    }

    #[test]
    fn a_folder_gives_its_rule_files_in_order_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("b/deep")).unwrap();
        fs::create_dir_all(at(".git")).unwrap();
        for name in ["z.rule", "a.rule", "b/deep/x.rule", "notes.txt", ".git/x.rule", ".x.rule"] {
            fs::write(at(name), "-- nothing").unwrap();
        }
        let sources = read(&[root.path().to_owned()], &mut Inputs::default());
        let expected = ["a.rule", "b/deep/x.rule", "z.rule"].map(|n| (n.to_owned(), true));
        assert_eq!(names(&sources, root.path()), expected);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_a_huge_file_stays_unread() {
        let root = tempfile::tempdir().unwrap();
        let huge = root.path().join("huge.rule");
        File::create(&huge).unwrap().set_len(10 * 1024 * 1024).unwrap();
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let sources = read(&[huge, root.path().join("absent.rule"), empty], &mut Inputs::default());
        let told: Vec<String> =
            sources.iter().map(|s| s.content.clone().unwrap_err().message).collect();
        assert_eq!(told[0], "the file has 10485760 bytes, too many for a rule file");
        assert!(told[1].starts_with("the rule file cannot be read: No such file"), "{told:?}");
        assert_eq!(told[2], "no rule files in this folder");
    }

    #[test]
    fn files_and_folders_are_read_up_to_their_bounds_and_no_further() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let told = |path: PathBuf| {
            let sources = read(&[path], &mut Inputs::default());
            let refused = sources.iter().filter_map(|source| source.content.clone().err());
            let refused: Vec<_> = refused.map(|found| (found.code, found.message)).collect();
            (sources.len(), refused)
        };
        let bytes = |count: usize| {
            let length = u64::try_from(count).unwrap();
            File::create(at("large.rule")).unwrap().set_len(length).unwrap();
            told(at("large.rule")).1
        };
        assert_eq!(bytes(RULE_FILE_BYTES_MAX), []);
        let message = "the file has 1048577 bytes, too many for a rule file".to_owned();
        assert_eq!(bytes(RULE_FILE_BYTES_MAX + 1), [(Code::FILE, message)]);

        let mut deep = at("deep");
        for _ in 1..RULE_FOLDERS_DEEP_MAX {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("last.rule"), "").unwrap();
        assert_eq!(told(at("deep")), (1, vec![]));
        fs::create_dir(deep.join("d")).unwrap();
        let message = "more than 16 folders inside one another".to_owned();
        assert_eq!(told(at("deep")), (2, vec![(Code::FILE, message)]));

        fs::create_dir(at("many")).unwrap();
        for number in 0..RULE_FILES_MAX {
            fs::write(at(&format!("many/{number}.rule")), "").unwrap();
        }
        assert_eq!(told(at("many")), (RULE_FILES_MAX, vec![]));
        fs::write(at("many/one.rule"), "").unwrap();
        let message = "more than 10000 rule files".to_owned();
        assert_eq!(told(at("many")), (RULE_FILES_MAX + 1, vec![(Code::FILE, message)]));
    }

    #[test]
    fn tables_and_descriptors_are_read_up_to_their_bounds_and_no_further() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, bytes: usize| {
            let path = root.path().join(name);
            fs::write(&path, text).unwrap();
            let length = u64::try_from(bytes).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        };
        let told = |text: String| {
            fs::write(root.path().join("t.rule"), text).unwrap();
            let loaded = load(&[root.path().join("t.rule")], &Config::default());
            let found = loaded.findings().map(|found| found.diagnostic.clone());
            let refused = found.filter(|found| found.message.contains("too many"));
            refused.map(|found| (found.code, found.message)).collect::<Vec<_>>()
        };
        let table = |name: &str, file: &str| format!("CREATE TABLE {name} FROM '{file}' KEY id;\n");
        // What lies behind the text is no JSON, and read all the same.
        file("half.json", "[]", TABLE_FILE_BYTES_MAX);
        file("more.json", "[]", TABLE_FILE_BYTES_MAX + 1);
        file("one.json", "", 1);
        let message = "the file has 33554433 bytes, too many to be read here".to_owned();
        assert_eq!(told(table("a", "half.json")), []);
        assert_eq!(told(table("a", "more.json")), [(Code::FILE, message)]);
        let both = table("a", "half.json") + &table("b", "half.json");
        assert_eq!(told(both.clone()), []);
        let message = "the file has 1 bytes, too many to be read here".to_owned();
        assert_eq!(told(both + &table("c", "one.json")), [(Code::FILE, message)]);

        let rule = |file: &str| {
            format!("CREATE RULE r AS SELECT a FROM 'a' AS PROTOBUF '{file}' MESSAGE 'm' DO LOG;")
        };
        file("most.desc", "", DESCRIPTOR_BYTES_MAX);
        file("more.desc", "", DESCRIPTOR_BYTES_MAX + 1);
        assert_eq!(told(rule("most.desc")), []);
        let found = told(rule("more.desc"));
        assert!(found[0].1.starts_with("the file has 4194305 bytes"), "{found:?}");
    }

    #[test]
    fn a_large_table_among_rules_is_passed_over_and_named_it_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("motes.json");
        File::create(&path).unwrap().set_len(10 * 1024 * 1024).unwrap();
        let severity = |path: &Path| {
            let sources = read(&[path.to_owned()], &mut Inputs::default());
            sources[0].content.clone().unwrap_err().severity
        };
        assert_eq!(severity(root.path()), Severity::Note);
        assert_eq!(severity(&path), Severity::Error);
    }

    #[test]
    fn a_table_that_a_rule_file_names_is_not_told_to_be_no_rule() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("rooms.json"), r#"{"attic": {"floor": 3}}"#).unwrap();
        let told = || {
            let loaded = load(&[root.path().to_owned()], &Config::default());
            loaded.findings().map(|found| found.diagnostic.code).collect::<Vec<_>>()
        };
        fs::write(root.path().join("a.rule"), "CREATE RULE r AS SELECT a FROM 'a' DO LOG;")
            .unwrap();
        assert_eq!(told(), [Code::NO_RULES]);
        fs::write(root.path().join("b.rule"), "CREATE TABLE rooms FROM 'rooms.json' KEY name;")
            .unwrap();
        assert_eq!(told(), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_circle_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("again")).unwrap();
        let sources = read(&[root.path().to_owned()], &mut Inputs::default());
        assert_eq!(sources.len(), 1);
        assert!(sources[0].content.is_err());
    }

    #[test]
    fn files_that_rules_name_are_read_below_the_given_folder_and_noted() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("rules/deep")).unwrap();
        fs::create_dir_all(at("rules/tables")).unwrap();
        fs::write(at("rules/tables/t.csv"), "id\n1\n").unwrap();
        fs::write(at("secret.csv"), "id\n1\n").unwrap();
        let table = |name: &str, file: &str| format!("CREATE TABLE {name} FROM '{file}' KEY id;\n");
        let text = [
            table("up", "../tables/t.csv"),
            table("round", "../deep/./../tables/t.csv"),
            table("missing", "t.csv"),
            table("outside", "../../secret.csv"),
            table("outside_and_back", "../../rules/tables/t.csv"),
        ];
        fs::write(at("rules/deep/a.rule"), text.concat()).unwrap();

        let loaded = load(&[at("rules")], &Config::default());
        let names: Vec<String> =
            loaded.checked.tables.iter().map(|t| t.name().to_string()).collect();
        assert_eq!(names, ["round", "up"]);
        let lines: Vec<usize> = loaded
            .findings()
            .map(|found| {
                let start = found.diagnostic.labels[0].span.start;
                found.text.get(..start).unwrap().matches('\n').count()
            })
            .collect();
        assert_eq!(lines, [2, 3, 4]);
        let inputs: Vec<&Path> = loaded.inputs.paths().collect();
        assert!(inputs.contains(&&*at("rules/tables/t.csv")), "{inputs:?}");
        assert!(inputs.contains(&&*at("rules/deep/t.csv")), "it may come: {inputs:?}");
        assert!(!inputs.iter().any(|path| path.ends_with("secret.csv")), "{inputs:?}");
        fs::write(at("rules/tables/t.csv"), "id\n1\n2\n").unwrap();
        assert_ne!(loaded.inputs.look_again(), loaded.inputs, "a changed table is a changed set");

        let alone = load(&[at("rules/deep/a.rule")], &Config::default());
        assert_eq!(alone.checked.tables.iter().count(), 0, "given by itself it has its folder");
    }
}
