//! [`Disk`], the files of a simulation and their names.
//!
//! Names are those of one directory. A change of names is durable when the directory has been
//! synced. A crash keeps the first ones of the changes since. fsync of a file does not make its
//! name durable, although some file systems do that.

use crate::faults::Faults;
use crate::inode::Inode;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// The number of a file, whatever its name.
pub(crate) type FileNumber = usize;

type Names = BTreeMap<String, FileNumber>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: Names,
    durable_names: Names,
    /// Changes that are not durable, each as the names after it, oldest first.
    log: Vec<Names>,
    /// Changes of names that there ever were.
    changes: u64,
}

#[derive(Debug)]
struct File {
    /// Its name, or its last one, for traces and texts.
    label: String,
    inode: Inode,
}

impl Disk {
    /// Returns the file of that name, and makes it if there is none.
    pub(crate) fn open(&mut self, name: &str) -> FileNumber {
        if let Some(&file) = self.names.get(name) {
            return file;
        }
        self.files.push(File { label: name.into(), inode: Inode::default() });
        let file = self.files.len() - 1;
        self.names.insert(name.into(), file);
        self.note_names();
        file
    }

    pub(crate) fn find(&self, name: &str) -> Option<FileNumber> {
        self.names.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Gives a file another name, and replaces the file that has it. `false` if there is none.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(file) = self.names.remove(from) else { return false };
        self.names.insert(to.into(), file);
        self.files[file].label = to.into();
        self.note_names();
        true
    }

    /// Removes a name. `false` if there is none.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let was_there = self.names.remove(name).is_some();
        if was_there {
            self.note_names();
        }
        was_there
    }

    fn note_names(&mut self) {
        self.changes += 1;
        self.log.push(self.names.clone());
    }

    pub(crate) fn label(&self, file: FileNumber) -> &str {
        &self.files[file].label
    }

    pub(crate) fn inode(&self, file: FileNumber) -> &Inode {
        &self.files[file].inode
    }

    pub(crate) fn inode_mut(&mut self, file: FileNumber) -> &mut Inode {
        &mut self.files[file].inode
    }

    /// Returns the bytes that all files have together.
    pub(crate) fn used(&self) -> u64 {
        self.files.iter().map(|file| file.inode.len()).sum()
    }

    /// Returns the number of changes so far: a sync that is submitted now covers these.
    pub(crate) fn name_changes(&self) -> u64 {
        self.changes
    }

    /// Makes the first `changes` changes of names durable.
    pub(crate) fn force_names(&mut self, changes: u64) {
        let left = (self.changes - changes) as usize;
        let count = self.log.len().saturating_sub(left);
        if let Some(durable) = self.log.drain(..count).next_back() {
            self.durable_names = durable;
        }
    }

    /// Has the power fail. Each line of the result is for the trace.
    pub(crate) fn crash(&mut self, faults: &Faults, random: &mut Random) -> Vec<String> {
        let count = match faults.lost_writes {
            true => random.index(self.log.len() + 1),
            false => self.log.len(),
        };
        let mut lines = Vec::new();
        if !self.log.is_empty() {
            let all = self.log.len();
            let why = "(no sync of the directory covered them)";
            lines.push(format!("names: {count} of {all} changes kept {why}"));
        }
        if let Some(names) = self.log.drain(..count).next_back() {
            self.durable_names = names;
        }
        self.log.clear();
        let before = mem::replace(&mut self.names, self.durable_names.clone());
        if before != self.names {
            let names: Vec<_> = self.names().collect();
            lines.push(format!("names: there are [{}]", names.join(", ")));
        }
        for (name, &file) in &self.names {
            self.files[file].label.clone_from(name);
        }
        let named: BTreeSet<_> = before.values().chain(self.names.values()).copied().collect();
        for (number, File { label, inode }) in self.files.iter_mut().enumerate() {
            let uncovered = inode.uncovered();
            let line = inode.crash(faults, random);
            if !named.contains(&number) {
                // Nothing can reach it any more.
                continue;
            }
            lines.push(format!("{label}: {line}"));
            if uncovered > 0 {
                lines.push(format!("{label}: no sync of the file covered {uncovered} changes"));
            }
        }
        lines
    }

    /// Drops from the cache what failed syncs have given up.
    pub(crate) fn drop_lost(&mut self, faults: &Faults, random: &mut Random) {
        self.files.iter_mut().for_each(|file| file.inode.drop_lost(faults, random));
    }

    /// Returns the length of each file.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = (FileNumber, u64)> {
        self.files.iter().enumerate().map(|(number, file)| (number, file.inode.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::Disk;
    use crate::faults::Faults;
    use crate::random::Random;
    use std::collections::BTreeSet;

    /// The names that a hundred crashes leave.
    fn crashes(make: impl Fn(&mut Disk)) -> BTreeSet<Vec<String>> {
        let mut random = Random::new(1);
        let crash = |_| {
            let mut disk = Disk::default();
            make(&mut disk);
            disk.crash(&Faults::legal(), &mut random);
            disk.names().map(String::from).collect()
        };
        (0..100).map(crash).collect()
    }

    fn sets(all: &[&[&str]]) -> BTreeSet<Vec<String>> {
        all.iter().map(|names| names.iter().map(|&name| name.into()).collect()).collect()
    }

    #[test]
    fn names_survive_when_the_directory_has_been_synced() {
        let left = crashes(|disk| {
            disk.open("a");
            disk.force_names(disk.name_changes());
            disk.open("b");
        });
        assert_eq!(left, sets(&[&["a"], &["a", "b"]]));
    }

    #[test]
    fn a_sync_of_the_directory_covers_what_came_before_its_submission() {
        let left = crashes(|disk| {
            disk.open("a");
            let changes = disk.name_changes();
            disk.open("b");
            disk.force_names(changes);
            // Another one that has been submitted earlier changes nothing.
            disk.force_names(0);
        });
        assert_eq!(left, sets(&[&["a"], &["a", "b"]]));
    }

    #[test]
    fn a_rename_happens_as_a_whole_or_not_at_all() {
        let left = crashes(|disk| {
            disk.open("old");
            disk.open("new");
            disk.force_names(disk.name_changes());
            assert!(disk.rename("new", "old"));
        });
        assert_eq!(left, sets(&[&["new", "old"], &["old"]]));
    }

    #[test]
    fn the_last_changes_of_names_are_lost_first() {
        let left = crashes(|disk| {
            for name in ["a", "b", "c"] {
                disk.open(name);
            }
        });
        assert_eq!(left, sets(&[&[], &["a"], &["a", "b"], &["a", "b", "c"]]));
    }

    /// Goal: a trace names files as the program does. Method: a file that is renamed over another,
    /// and a crash that may undo it.
    #[test]
    fn a_file_is_called_by_its_present_name() {
        let (mut kept, mut random) = (BTreeSet::new(), Random::new(1));
        for _ in 0..20 {
            let mut disk = Disk::default();
            let old = disk.open("name");
            disk.force_names(disk.name_changes());
            let new = disk.open("temporary");
            assert!(disk.rename("temporary", "name"));
            assert_eq!(disk.label(new), "name");
            let lines = disk.crash(&Faults::legal(), &mut random).join("\n");
            let file = disk.find("name").expect("one of the two");
            assert_eq!(disk.label(file), "name");
            let has_temporary =
                disk.find("temporary").is_some_and(|it| disk.label(it) == "temporary");
            kept.insert((file == old, has_temporary));
            assert_eq!(
                lines.contains("there are [name]"),
                file == old && !has_temporary,
                "{lines}"
            );
            assert_eq!(lines.contains("there are [name, temporary]"), has_temporary, "{lines}");
        }
        assert_eq!(kept, [(true, false), (true, true), (false, false)].into());
        // What has been replaced for good is not listed.
        let mut disk = Disk::default();
        disk.open("name");
        disk.open("temporary");
        disk.rename("temporary", "name");
        disk.force_names(disk.name_changes());
        assert_eq!(disk.crash(&Faults::legal(), &mut random).len(), 1);
    }
}
