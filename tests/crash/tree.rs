//! A directory as a crash leaves it: names and bytes, to be written out, compared and told apart.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    File(Vec<u8>),
    Dir(BTreeMap<String, Tree>),
}

impl Tree {
    /// Reads a directory.
    pub fn read(path: &Path) -> Tree {
        if !path.is_dir() {
            return Tree::File(fs::read(path).expect("readable"));
        }
        let entries = fs::read_dir(path).expect("a directory").map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name of ours is UTF-8");
            (name, Tree::read(&entry.path()))
        });
        Tree::Dir(entries.collect())
    }

    /// Takes out every file whose name ends so.
    pub fn remove_ending(&mut self, ending: &str) {
        let Tree::Dir(entries) = self else { return };
        entries.retain(|name, entry| {
            entry.remove_ending(ending);
            !name.ends_with(ending)
        });
    }

    /// Writes it at `path`, where nothing may be, for its owner alone.
    pub fn write(&self, path: &Path) {
        match self {
            Tree::File(bytes) => {
                let mut options = fs::OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(0o600).open(path);
                let file = file.as_mut().expect("a new file");
                std::io::Write::write_all(file, bytes).expect("room for a state");
            }
            Tree::Dir(entries) => {
                fs::DirBuilder::new().mode(0o700).create(path).expect("a new directory");
                entries.iter().for_each(|(name, entry)| entry.write(&path.join(name)));
            }
        }
    }

    /// Tells trees apart.
    pub fn digest(&self) -> [u8; 32] {
        match self {
            Tree::File(bytes) => Sha256::new().chain_update([0]).chain_update(bytes).finalize(),
            Tree::Dir(entries) => {
                let mut hash = Sha256::new().chain_update([1]);
                for (name, entry) in entries {
                    let length = (name.len() as u64).to_be_bytes();
                    hash =
                        hash.chain_update(length).chain_update(name).chain_update(entry.digest());
                }
                hash.finalize()
            }
        }
        .into()
    }

    /// Where two trees differ, for a person.
    pub fn differences(&self, other: &Tree, at: &str) -> Vec<String> {
        match (self, other) {
            (Tree::File(one), Tree::File(two)) if one == two => Vec::new(),
            (Tree::File(one), Tree::File(two)) => {
                let first = one.iter().zip(two).position(|(one, two)| one != two);
                let first = first.unwrap_or(one.len().min(two.len()));
                vec![format!("{at}: {} and {} bytes, from byte {first} on", one.len(), two.len())]
            }
            (Tree::Dir(one), Tree::Dir(two)) => {
                let missing =
                    |name: &&String| !(one.contains_key(*name) && two.contains_key(*name));
                let names = one.keys().chain(two.keys()).filter(missing);
                let mut found: Vec<_> =
                    names.map(|name| format!("{at}/{name}: in one only")).collect();
                for (name, entry) in one {
                    let other =
                        two.get(name).map(|two| entry.differences(two, &format!("{at}/{name}")));
                    found.extend(other.unwrap_or_default());
                }
                found
            }
            _ => vec![format!("{at}: a file and a directory")],
        }
    }
}
