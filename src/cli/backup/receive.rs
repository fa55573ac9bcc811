//! The stream of a backup on its way into the directory: each file is received aside, held to its
//! digest, synced, and only then given its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tonic::Streaming;

use super::{PATIENCE, Present, Received};
use crate::backup_dir::{BackupDir, Content, Digest32, Manifest, Volume};
use crate::cli::failure::Failure;
use crate::progress::Progress;
use crate::proto::v1::backup_response::Part;
use crate::proto::v1::{BackupFile, BackupFileKind, BackupHead, BackupResponse};

/// The form of backup this program knows.
const FORMAT: u32 = 1;

/// Waits for the first part, which says what is to come.
pub(super) async fn begin(
    parts: Streaming<BackupResponse>,
) -> Result<(BackupHead, Parts), Failure> {
    let mut parts = Parts(parts);
    let Part::Head(head) = parts.next().await? else { return Err(unexpected()) };
    if head.format != FORMAT {
        return Err(Failure::Local(format!(
            "the server sends backups of form {}, which this program does not know",
            head.format
        )));
    }
    Ok((head, parts))
}

/// Receives all other parts; answers the manifest of the whole, which is still to be written.
pub(super) async fn receive(
    dir: &BackupDir,
    present: Present,
    head: &BackupHead,
    mut parts: Parts,
    progress: &dyn Progress,
) -> Result<Received, Failure> {
    let mut receiver = Receiver {
        dir,
        progress,
        present: present.volumes,
        volumes: Vec::new(),
        tail: None,
        data_keys: None,
        files: 0,
        bytes: 0,
        new_volumes: 0,
    };
    progress.begin("receiving sealed volumes", head.volume_bytes);
    let end = loop {
        match parts.next().await? {
            Part::File(file) => receiver.file(&file, &mut parts).await?,
            Part::End(end) => break end,
            _ => return Err(unexpected()),
        }
    };
    progress.end();
    if (end.files, end.bytes) != (receiver.files, receiver.bytes) {
        return Err(incomplete());
    }
    receiver.into_received(head)
}

/// The stream, part by part.
pub(super) struct Parts(Streaming<BackupResponse>);

impl Parts {
    async fn next(&mut self) -> Result<Part, Failure> {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await;
        let message = message.map_err(|_| {
            Failure::Local(format!("the server sent nothing for {} s", PATIENCE.as_secs()))
        })??;
        message.and_then(|message| message.part).ok_or_else(incomplete)
    }
}

/// What has been received so far.
struct Receiver<'a> {
    dir: &'a BackupDir,
    progress: &'a dyn Progress,
    /// The volumes that were there, which the server may leave out.
    present: Vec<Volume>,
    volumes: Vec<Volume>,
    tail: Option<Volume>,
    data_keys: Option<Content>,
    files: u64,
    bytes: u64,
    new_volumes: u64,
}

impl Receiver<'_> {
    async fn file(&mut self, file: &BackupFile, parts: &mut Parts) -> Result<(), Failure> {
        match file.kind() {
            BackupFileKind::Volume if !file.included => self.left_out(file),
            BackupFileKind::Volume => {
                let name = format!("volume-{:08}", file.number);
                let part = self.dir.part(&name);
                let content = self.content(file, &part, parts).await?;
                let volume = volume_of(file, content)?;
                self.dir.keep(&part, &name)?;
                self.volumes.push(volume);
                self.new_volumes += 1;
                // A backup that is cut off goes on from here the next time.
                Ok(self.dir.note_received(&self.volumes)?)
            }
            BackupFileKind::Tail => {
                self.progress.end();
                self.progress.begin("receiving the records behind them", self.bytes + file.size);
                let part = self.dir.part("tail");
                let tail = volume_of(file, self.content(file, &part, parts).await?)?;
                self.dir.keep(&part, &tail.tail_name())?;
                self.tail = Some(tail);
                Ok(())
            }
            BackupFileKind::DataKeys => {
                let part = self.dir.part("datakeys");
                let content = self.content(file, &part, parts).await?;
                self.dir.keep(&part, &content.data_keys_name())?;
                self.data_keys = Some(content);
                Ok(())
            }
            BackupFileKind::Unspecified => Err(unexpected()),
        }
    }

    /// A volume that is there already: it must be the one that the server means.
    fn left_out(&mut self, file: &BackupFile) -> Result<(), Failure> {
        let there = self.present.get(self.volumes.len());
        let same = |there: &&Volume| {
            let Volume { number, first, last, root, content } = there;
            (*number, *first, *last, content.bytes, &root.0[..])
                == (file.number, file.first, file.last, file.size, &file.root[..])
        };
        let there = there.filter(same).ok_or_else(|| {
            Failure::Local(format!(
                "volume {} of the server is not the one in the backup: back up into another \
                 directory",
                file.number
            ))
        })?;
        self.volumes.push(*there);
        Ok(())
    }

    /// Receives the bytes of a file into `part`, synced.
    async fn content(
        &mut self,
        file: &BackupFile,
        part: &Path,
        parts: &mut Parts,
    ) -> Result<Content, Failure> {
        let mut written = Writing::begin(part)?;
        let sha256 = loop {
            match parts.next().await? {
                Part::Data(bytes) => {
                    if file.size.saturating_sub(written.bytes) < bytes.len() as u64 {
                        return Err(unexpected());
                    }
                    written.add(&bytes)?;
                    self.bytes += bytes.len() as u64;
                    self.progress.reached(self.bytes);
                }
                Part::FileEnd(end) => break end.sha256,
                _ => return Err(unexpected()),
            }
        };
        let content = written.finish()?;
        if content.bytes != file.size || content.sha256.0[..] != sha256[..] {
            return Err(Failure::Local(
                "a file was not received as the server sent it: try again".to_owned(),
            ));
        }
        self.files += 1;
        Ok(content)
    }

    fn into_received(self, head: &BackupHead) -> Result<Received, Failure> {
        let data_keys = self.data_keys.ok_or_else(incomplete)?;
        let manifest = Manifest {
            origin: digest(&head.origin)?,
            generation: head.generation,
            head: head.position,
            root: digest(&head.root)?,
            volumes: self.volumes,
            tail: self.tail,
            data_keys,
        };
        if !manifest.is_whole() || manifest.volumes.len() as u64 != head.volumes {
            return Err(incomplete());
        }
        let (dir, new_volumes, received) =
            (self.dir.path().to_owned(), self.new_volumes, self.bytes);
        Ok(Received { manifest, dir, new_volumes, received })
    }
}

/// A file being written.
struct Writing {
    file: File,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
}

impl Writing {
    fn begin(path: &Path) -> Result<Self, Failure> {
        // Made anew: what an earlier run left could be a link to elsewhere.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot_write(path, &error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| cannot_write(path, &error))?;
        Ok(Writing { file, path: path.to_owned(), hash: Sha256::new(), bytes: 0 })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    fn finish(self) -> Result<Content, Failure> {
        self.file.sync_all().map_err(|error| cannot_write(&self.path, &error))?;
        Ok(Content { bytes: self.bytes, sha256: Digest32(self.hash.finalize().into()) })
    }
}

fn volume_of(file: &BackupFile, content: Content) -> Result<Volume, Failure> {
    let BackupFile { number, first, last, .. } = *file;
    Ok(Volume { number, first, last, root: digest(&file.root)?, content })
}

fn digest(bytes: &[u8]) -> Result<Digest32, Failure> {
    bytes.try_into().map(Digest32).map_err(|_| unexpected())
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Local(format!("cannot write {}: {error}", path.display()))
}

fn incomplete() -> Failure {
    Failure::Local(
        "the backup ended before it was whole: run it again, it goes on with what is there"
            .to_owned(),
    )
}

fn unexpected() -> Failure {
    Failure::Local("the server sent something that is no part of a backup".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_way_is_replaced_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (elsewhere, part) = (dir.path().join("elsewhere"), dir.path().join("tail.part"));
        fs::write(&elsewhere, "mine").expect("written");
        std::os::unix::fs::symlink(&elsewhere, &part).expect("linked");
        for bytes in [&b"first"[..], b"2nd"] {
            let mut writing = Writing::begin(&part).expect("begun");
            writing.add(bytes).expect("written");
            assert_eq!(writing.finish().expect("synced").bytes, bytes.len() as u64);
            assert_eq!(fs::read(&part).expect("there"), bytes);
        }
        assert_eq!(fs::read_to_string(&elsewhere).expect("there"), "mine");
    }
}
