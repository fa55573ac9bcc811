//! `keyledger admin backup`: receives a backup into a directory, only what is not there yet.

mod receive;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::output::{self, Fields, Resource};
use super::progress::Shown;
use super::session::Session;
use super::text::{bytes, grouped};
use crate::backup_dir::{BackupDir, BackupDirError, Manifest, Volume, read_content};
use crate::progress::Progress;
use crate::proto::v1;
use crate::telemetry;

/// How long the server may send nothing: while it packs the records behind the last sealed volume it
/// has nothing to send.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Directory of the backup; made if it is not there. One that holds a backup of this log is brought up
    /// to date: only what is new is fetched, and until that is whole the backup that was there remains
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What is there of this log, held to its digests.
#[derive(Default)]
struct Present {
    manifest: Option<Manifest>,
    /// Sealed volumes that are whole, from 1 without a gap.
    volumes: Vec<Volume>,
}

/// Receives a backup.
pub(super) async fn run(args: BackupArgs, session: &mut Session) -> Result<Exit, Failure> {
    // Where there is no terminal the log tells how far it is. A bad filter is no reason not to back up.
    let _ = telemetry::start(std::env::var(telemetry::LOG_VARIABLE).ok().as_deref());
    let progress = Shown::new();
    let used = BackupDir::open_if_used(&args.to)?;
    let present = used.as_ref().map_or(Ok(Present::default()), |dir| present(dir, &progress))?;
    let request = ask(&present)?;
    let mut admin = session.connect().await?.admin();
    let parts = admin.backup(request).await?.into_inner();
    let (head, parts) = receive::begin(parts).await?;
    // Not before: a backup that is refused leaves no directory behind.
    let dir = used.map_or_else(|| begin(&args.to), Ok)?;
    let received = receive::receive(&dir, present, &head, parts, &progress).await?;
    dir.finish(&received.manifest)?;
    session.output.one(&received)?;
    Ok(Exit::Done)
}

impl From<BackupDirError> for Failure {
    fn from(error: BackupDirError) -> Self {
        Failure::Local(error.to_string())
    }
}

/// Makes the directory of a first backup.
fn begin(path: &Path) -> Result<BackupDir, Failure> {
    let dir = BackupDir::open_or_make(path)?;
    if dir.manifest()?.is_some() || !dir.received(None)?.is_empty() {
        let text = "another backup has been made there meanwhile: run it again to go on with that";
        return Err(Failure::Local(text.to_owned()));
    }
    Ok(dir)
}

/// Looks what is there already. A volume that is damaged is fetched anew, and all behind it.
fn present(dir: &BackupDir, progress: &dyn Progress) -> Result<Present, Failure> {
    let manifest = dir.manifest()?;
    let mut known = manifest.as_ref().map(|manifest| manifest.volumes.clone()).unwrap_or_default();
    let received = dir.received(known.last())?;
    known.extend(received);
    progress.begin("checking what is there", known.iter().map(|known| known.content.bytes).sum());
    let mut volumes = Vec::with_capacity(known.len());
    let mut checked = 0;
    for volume in known {
        let read = read_content(dir.path(), &volume.name(), &volume.content, |bytes| {
            checked += bytes.len() as u64;
            progress.reached(checked);
            Ok(())
        });
        match read {
            Ok(()) => volumes.push(volume),
            Err(error @ (BackupDirError::Damaged(_) | BackupDirError::Missing(_))) => {
                output::note(&format!("warning: {error}: it is fetched anew, with all behind it"));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    progress.end();
    Ok(Present { manifest, volumes })
}

/// Asks for what is not there, naming the furthest head that is, so that it is of the same log.
fn ask(present: &Present) -> Result<v1::BackupRequest, Failure> {
    let of_manifest = present.manifest.as_ref().map(|manifest| (manifest.head, manifest.root));
    let of_volumes = present.volumes.last().map(|volume| (volume.last, volume.root));
    let furthest = of_manifest.into_iter().chain(of_volumes).max_by_key(|(position, _)| *position);
    let (known_head, known_root) =
        furthest.map_or((0, Vec::new()), |(position, root)| (position, root.0.to_vec()));
    let after_volume = u64::try_from(present.volumes.len())
        .map_err(|_| Failure::Local("too many volumes".to_owned()))?;
    Ok(v1::BackupRequest { after_volume, known_head, known_root })
}

/// A backup that is whole, and what it took.
struct Received {
    manifest: Manifest,
    dir: PathBuf,
    new_volumes: u64,
    received: u64,
}

impl Resource for Received {
    fn json(&self) -> Value {
        let manifest = &self.manifest;
        json!({
            "directory": self.dir.display().to_string(),
            "head": manifest.head,
            "root": manifest.root.to_string(),
            "generation": manifest.generation,
            "volumes": manifest.volumes.len(),
            "new_volumes": self.new_volumes,
            "received_bytes": self.received,
            "bytes": self.bytes(),
        })
    }

    fn fields(&self) -> Fields {
        let manifest = &self.manifest;
        vec![
            ("backup", self.dir.display().to_string()),
            ("head", grouped(manifest.head)),
            ("tree root", manifest.root.to_string()),
            ("generation", grouped(manifest.generation)),
            (
                "volumes",
                format!(
                    "{}  {} of them new",
                    grouped(manifest.volumes.len() as u64),
                    grouped(self.new_volumes)
                ),
            ),
            ("received", format!("{} of {}", bytes(self.received), bytes(self.bytes()))),
        ]
    }
}

impl Received {
    fn bytes(&self) -> u64 {
        let volumes = self.manifest.all_volumes().map(|volume| volume.content.bytes);
        volumes.sum::<u64>() + self.manifest.data_keys.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup_dir::{Content, Digest32};

    #[test]
    fn a_backup_that_was_made_there_meanwhile_is_not_replaced() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("b");
        drop(begin(&path).expect("made"));
        let content = Content { bytes: 1, sha256: Digest32([1; 32]) };
        let root = Digest32([2; 32]);
        let volume = Volume { number: 1, first: 1, last: 2, root, content };
        let made = BackupDir::open_or_make(&path).expect("opened");
        made.note_received(&[volume]).expect("noted");
        drop(made);
        assert!(begin(&path).is_err(), "another run has begun one");
        let made = BackupDir::open_or_make(&path).expect("opened");
        let (volumes, tail, data_keys) = (vec![volume], None, content);
        let (origin, generation, head) = (root, 1, 2);
        let manifest = Manifest { origin, generation, head, root, volumes, tail, data_keys };
        made.finish(&manifest).expect("finished");
        drop(made);
        let Err(Failure::Local(text)) = begin(&path) else { panic!("another run has made one") };
        assert!(text.contains("meanwhile"), "{text}");
    }
}
