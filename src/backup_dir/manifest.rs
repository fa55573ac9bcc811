//! The manifest of a backup as text.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// The newest form this program reads, and the one it writes.
const FORMAT: u32 = 1;
const FIRST_LINE: &str = "keyledger backup, format ";

/// A SHA-256 hash: of a file, or of the log's tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest32(pub [u8; 32]);

impl fmt::Display for Digest32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Digest32 {
    fn parse(text: &str) -> Option<Self> {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(lower) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Digest32(bytes))
    }

    /// Its first eight digits.
    fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// How many bytes.
    pub bytes: u64,
    /// The SHA-256 of them.
    pub sha256: Digest32,
}

impl Content {
    /// The name of the file if it is one of data keys.
    #[must_use]
    pub fn data_keys_name(&self) -> String {
        format!("datakeys-{}", self.sha256.short())
    }
}

/// A volume of the log, sealed or the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its number, from 1.
    pub number: u64,
    /// The position of its first record.
    pub first: u64,
    /// The position of its last record.
    pub last: u64,
    /// The root of the tree over all records up to its last.
    pub root: Digest32,
    /// What is in its file.
    pub content: Content,
}

impl Volume {
    /// The name of its file if it is a sealed one.
    #[must_use]
    pub fn name(&self) -> String {
        format!("volume-{:08}", self.number)
    }

    /// The name of its file if it is the tail.
    #[must_use]
    pub fn tail_name(&self) -> String {
        format!("tail-{}-{}-{}", self.first, self.last, self.content.sha256.short())
    }

    /// Whether it comes right behind `before`, or is the first if there is none.
    #[must_use]
    pub fn follows(&self, before: Option<&Volume>) -> bool {
        let (number, last) = before.map_or((0, 0), |before| (before.number, before.last));
        Some(self.number) == number.checked_add(1)
            && Some(self.first) == last.checked_add(1)
            && self.first <= self.last
    }

    /// Its line in the manifest, as a sealed volume.
    pub(super) fn line(&self) -> String {
        format!("volume {}\n", self.words())
    }

    pub(super) fn parse_line(line: &str) -> Option<Self> {
        Self::parse_words(line.strip_suffix('\n')?.strip_prefix("volume ")?)
            .filter(|volume| volume.line() == line)
    }

    fn words(&self) -> String {
        let Volume { number, first, last, root, content: Content { bytes, sha256 } } = self;
        format!("{number} {first} {last} {root} {bytes} {sha256}")
    }

    fn parse_words(words: &str) -> Option<Self> {
        let mut words = words.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (number, first, last) = (number()?, number()?, number()?);
        let root = Digest32::parse(words.next()?)?;
        let bytes = words.next()?.parse().ok()?;
        let sha256 = Digest32::parse(words.next()?)?;
        Some(Volume { number, first, last, root, content: Content { bytes, sha256 } })
    }
}

/// Why bytes are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// Altered or truncated.
    #[error("the manifest is truncated or altered")]
    Damaged,
    /// Longer than any may be.
    #[error("the manifest is too long: over 256 MiB")]
    TooLong,
    /// Written by a newer program.
    #[error("the manifest has format {0}, newer than this program: use a newer keyledger")]
    Newer(u32),
}

/// What belongs to a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What names the log in all its generations.
    pub origin: Digest32,
    /// The generation of the log.
    pub generation: u64,
    /// The last position that the backup holds.
    pub head: u64,
    /// The root of the tree over all records up to it.
    pub root: Digest32,
    /// The sealed volumes, from 1 without a gap.
    pub volumes: Vec<Volume>,
    /// The records behind them.
    pub tail: Option<Volume>,
    /// The wrapped data keys.
    pub data_keys: Content,
}

impl Manifest {
    /// The manifest as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{FIRST_LINE}{FORMAT}\n");
        let Manifest { origin, generation, head, root, .. } = self;
        // Writing to a String does not fail.
        let _ =
            write!(text, "origin {origin}\ngeneration {generation}\nhead {head}\nroot {root}\n");
        text.extend(self.volumes.iter().map(Volume::line));
        if let Some(tail) = &self.tail {
            let _ = writeln!(text, "tail {}", tail.words());
        }
        let Content { bytes, sha256 } = self.data_keys;
        let _ = writeln!(text, "datakeys {bytes} {sha256}");
        let sum = Digest32(Sha256::digest(&text).into());
        let _ = writeln!(text, "sha256 {sum}");
        text
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] if it is not exactly as [`Manifest::render`] writes one that is whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Damaged)?;
        let format = text.lines().next().and_then(|line| line.strip_prefix(FIRST_LINE));
        match format.and_then(|format| format.parse().ok()) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => return Err(ManifestError::Newer(newer)),
            _ => return Err(ManifestError::Damaged),
        }
        let manifest = Self::parse_lines(text).filter(Self::is_whole);
        // One text for each manifest: so nothing in it goes unread, its own digest included.
        manifest.filter(|manifest| manifest.render() == text).ok_or(ManifestError::Damaged)
    }

    fn parse_lines(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1).peekable();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let origin = Digest32::parse(value("origin")?)?;
        let generation = value("generation")?.parse().ok()?;
        let head = value("head")?.parse().ok()?;
        let root = Digest32::parse(value("root")?)?;
        let mut volumes = Vec::new();
        while let Some(words) = lines.peek()?.strip_prefix("volume ") {
            volumes.push(Volume::parse_words(words)?);
            lines.next();
        }
        let tail = match lines.peek()?.strip_prefix("tail ") {
            Some(words) => Some(Volume::parse_words(words)?),
            None => None,
        };
        if tail.is_some() {
            lines.next();
        }
        let (bytes, sha256) = lines.next()?.strip_prefix("datakeys ")?.split_once(' ')?;
        let data_keys = Content { bytes: bytes.parse().ok()?, sha256: Digest32::parse(sha256)? };
        Some(Manifest { origin, generation, head, root, volumes, tail, data_keys })
    }

    /// Whether its volumes follow one another up to its head, and its files can be as long as it says.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut sizes = self.all_volumes().map(|volume| volume.content.bytes);
        if sizes.try_fold(self.data_keys.bytes, u64::checked_add).is_none() {
            return false;
        }
        let mut before = None;
        for volume in self.all_volumes() {
            if !volume.follows(before) {
                return false;
            }
            before = Some(volume);
        }
        let end = before.map(|volume| (volume.last, volume.root));
        end == Some((self.head, self.root)) && self.generation > 0
    }

    /// All volumes in order, the tail as the last one.
    pub fn all_volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().chain(&self.tail)
    }

    /// All volumes in order with the names of their files.
    pub fn volume_files(&self) -> impl Iterator<Item = (&Volume, String)> {
        let sealed = self.volumes.iter().map(|volume| (volume, volume.name()));
        sealed.chain(self.tail.iter().map(|tail| (tail, tail.tail_name())))
    }

    /// The name of the file of data keys.
    #[must_use]
    pub fn data_keys_name(&self) -> String {
        self.data_keys.data_keys_name()
    }

    /// The names of all its files.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let volumes = self.volume_files().map(|(_, name)| name);
        volumes.chain([self.data_keys_name()]).collect()
    }
}
