//! A data directory held in memory, to be written out again and again.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes written at a time; runs of zeros as long are left out.
const BLOCK: usize = 4096;

/// Every file and directory with its bytes.
#[derive(Clone)]
pub(crate) struct Image {
    dirs: Vec<PathBuf>,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    pub(crate) fn of(data: &Path) -> Image {
        let mut image = Image { dirs: Vec::new(), files: Vec::new() };
        let mut rooms = vec![data.to_owned()];
        while let Some(room) = rooms.pop() {
            for entry in fs::read_dir(&room).expect("a directory") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(data).expect("below").to_owned();
                if path.is_dir() {
                    image.dirs.push(name);
                    rooms.push(path);
                } else {
                    image.files.push((name, fs::read(&path).expect("readable")));
                }
            }
        }
        image.dirs.sort();
        image.files.sort();
        image
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, name: &Path) -> &[u8] {
        let at = self.files.binary_search_by(|(file, _)| file.as_path().cmp(name));
        &self.files[at.expect("one of the image's")].1
    }

    /// Writes all of it into `data`, whatever is there.
    pub(crate) fn write(&self, data: &Path) {
        if data.exists() {
            fs::remove_dir_all(data).expect("removed");
        }
        fs::create_dir_all(data).expect("made");
        self.dirs.iter().for_each(|dir| fs::create_dir(data.join(dir)).expect("made"));
        for (name, bytes) in &self.files {
            write(&data.join(name), bytes);
        }
    }

    /// The directories, those above others first.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter()
    }

    /// Writes the directory `dir` of it and all below into `data`.
    pub(crate) fn write_below(&self, dir: &Path, data: &Path) {
        let dirs = self.dirs.iter().filter(|found| found.starts_with(dir));
        dirs.for_each(|dir| fs::create_dir_all(data.join(dir)).expect("made"));
        for (name, bytes) in self.files.iter().filter(|(name, _)| name.starts_with(dir)) {
            write(&data.join(name), bytes);
        }
    }

    /// Writes one file as it was.
    pub(crate) fn mend(&self, data: &Path, name: &Path) {
        write(&data.join(name), self.bytes(name));
    }
}

/// Writes a file for its owner alone, long runs of zeros as holes.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    let file = fs::File::create(path).expect("made");
    file.set_permissions(fs::Permissions::from_mode(0o600)).expect("set");
    file.set_len(bytes.len() as u64).expect("set");
    for (block, at) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at).expect("written");
        }
    }
}

/// Flips one bit of a byte of a file in place: which, follows from where it is.
pub(crate) fn flip(path: &Path, at: usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).expect("inside");
    file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at as u64).expect("written");
}
