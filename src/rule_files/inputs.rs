//! What a rule set was made of, so that a change on disk can be seen without reading everything again.
//!
//! Whoever reads a file for a rule set notes it in [`Inputs`] *before* reading: rule files and their
//! folders, and whatever else rules bring in. [`Inputs::look_again`] looks at the same paths and
//! nothing else, so a look costs one `stat` a file and one listing a folder. A path that is not there
//! is an input too: it may come.
//!
//! A file is known by device, inode, length, and the times of its last change of content and of
//! status. An editor that writes a new file and renames it over the old one changes the inode; one
//! that writes in place changes the times; a Kubernetes volume that swaps a link changes the inode
//! behind it. Polling, and not the kernel's notification, because that says nothing of changes made
//! on the other side of a mount (a container's host, a network file system), loses events when its
//! queue is full, and follows the old file after a rename.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// Files and folders that a rule set depends on, as they were when they were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    marks: BTreeMap<PathBuf, Mark>,
}

/// How a path looked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// Not there, or not to be looked at.
    Absent(io::ErrorKind),
    /// A file, a device, a pipe.
    File { place: (u64, u64), length: u64, modified: (i64, i64), changed: (i64, i64) },
    /// The names of what [`super::read`] would look at in it; other files may come and go.
    Folder(BTreeSet<OsString>),
}

impl Inputs {
    /// Notes `path` as it is now; to be called before it is read. The first note of a path stays.
    pub fn note(&mut self, path: &Path) {
        if !self.marks.contains_key(path) {
            self.marks.insert(path.to_owned(), Mark::of(path));
        }
    }

    /// The same paths as they are now. Blocks for a look at each.
    pub fn look_again(&self) -> Inputs {
        let look = |path: &PathBuf| (path.clone(), Mark::of(path));
        Inputs { marks: self.marks.keys().map(look).collect() }
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.marks.keys().map(PathBuf::as_path)
    }
}

impl Mark {
    fn of(path: &Path) -> Mark {
        let looked = fs::metadata(path).and_then(|found| {
            if found.is_dir() {
                return names(path).map(Mark::Folder);
            }
            Ok(Mark::File {
                place: (found.dev(), found.ino()),
                length: found.len(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            })
        });
        looked.unwrap_or_else(|error| Mark::Absent(error.kind()))
    }
}

fn names(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What is no plain file may be a folder, or a link to one.
        let may_be_folder = !entry.file_type()?.is_file();
        let path = entry.path();
        if !super::is_hidden(&path) && (may_be_folder || super::is_rule_file(&path)) {
            names.insert(entry.file_name());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    /// What a change to a set of rule files does to its inputs.
    fn changes(change: impl FnOnce(&Path)) -> bool {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("deep")).unwrap();
        for name in ["a.rule", "deep/b.rule", "notes.txt"] {
            fs::write(root.path().join(name), "-- nothing").unwrap();
        }
        let mut inputs = Inputs::default();
        read(&[root.path().to_owned()], &mut inputs);
        assert_eq!(inputs, inputs.look_again());
        change(root.path());
        inputs != inputs.look_again()
    }

    #[test]
    fn every_way_to_change_a_rule_set_is_seen() {
        let write = |path: PathBuf| fs::write(path, "-- changed by somebody").unwrap();
        assert!(changes(|root| write(root.join("a.rule"))), "in place");
        assert!(changes(|root| write(root.join("deep/b.rule"))), "in a sub-folder");
        assert!(changes(|root| write(root.join("new.rule"))), "a new file");
        assert!(changes(|root| write(root.join("deep/new.rule"))), "a new file below");
        assert!(changes(|root| fs::remove_file(root.join("a.rule")).unwrap()), "removed");
        assert!(changes(|root| fs::create_dir(root.join("more")).unwrap()), "a new folder");
        assert!(changes(|root| fs::remove_dir_all(root).unwrap()), "everything gone");
        assert!(
            changes(|root| {
                write(root.join(".a.rule.new"));
                fs::rename(root.join(".a.rule.new"), root.join("a.rule")).unwrap();
            }),
            "written beside and renamed over"
        );
        assert!(
            changes(|root| fs::rename(root.join("a.rule"), root.join("deep/a.rule")).unwrap()),
            "moved"
        );
    }

    #[test]
    fn what_is_no_rule_file_may_come_and_go() {
        let write = |path: PathBuf| fs::write(path, "-- changed by somebody").unwrap();
        assert!(!changes(|_| {}));
        assert!(!changes(|root| write(root.join("notes.txt"))));
        assert!(!changes(|root| write(root.join(".a.rule.swp"))), "an editor's own");
        assert!(!changes(|root| write(root.join("a.rule~"))));
    }

    #[test]
    fn a_path_that_is_not_there_is_an_input_when_it_comes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("late.rule");
        let mut inputs = Inputs::default();
        read(std::slice::from_ref(&path), &mut inputs);
        assert_eq!(inputs.paths().collect::<Vec<_>>(), [path.as_path()]);
        assert_eq!(inputs, inputs.look_again());
        fs::write(&path, "").unwrap();
        assert_ne!(inputs, inputs.look_again());
    }

    #[test]
    fn the_first_note_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.rule");
        let mut inputs = Inputs::default();
        inputs.note(&path);
        fs::write(&path, "").unwrap();
        inputs.note(&path);
        assert_ne!(inputs, inputs.look_again(), "read before and after the change");
    }
}
