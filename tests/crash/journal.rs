//! Usage journals as the gate reads them, by the layout in ARCHITECTURE.md: what was written and what was
//! synced of them at each point of a trace, and what a stopped server has left in them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use keyledger::domain::ids::EventId;
use keyledger::domain::sealed::{DataKeyId, Sealed};
use keyledger::domain::usage::{Tried, UseOutcome};
use keyledger::usage::entry::Decoder;
use keyledger::vault::{SealContext, Vault};

use super::answers::Verdict;
use super::trace::Op;

/// Where journals are.
pub const USAGE: &str = "data/usage/";

const HEADER_BYTES: usize = 36;
const FRAME_HEAD_BYTES: usize = 48;
const CHECKSUM_BYTES: usize = 4;

/// How often something was, by key and outcome; the key is empty where none was named.
pub type Counts = BTreeMap<String, u64>;

/// What counts are kept under.
pub fn name_of(key: &str, outcome: &str) -> String {
    format!("{key} {outcome}")
}

/// A frame of uses.
#[derive(Clone, Debug)]
pub struct Flush {
    /// The operation that wrote it.
    pub written: usize,
    /// The operation that made it durable; none if the process was killed before.
    pub synced: Option<usize>,
    pub uses: Counts,
    /// When the last of its uses was decided, in microseconds since 1970.
    pub latest: i64,
}

/// The uses of a trace.
#[derive(Debug)]
pub struct Uses {
    /// Whether answers waited for the disk.
    pub before_reply: bool,
    pub verdicts: Vec<Verdict>,
    pub flushes: Vec<Flush>,
}

/// Reads frames of uses.
pub struct Journals(Vault);

/// A whole frame: its kind, the journal's number, its sequence, its payload, its length.
struct Frame<'a> {
    kind: u8,
    journal: u64,
    sequence: u64,
    payload: &'a [u8],
    length: usize,
}

/// What ends a journal because another follows.
const ROTATED: u8 = 2;
const USES: u8 = 1;

impl Journals {
    /// Of the server whose data directory this is.
    pub fn of(data_dir: &Path) -> Result<Self, String> {
        let vault = Vault::open(&data_dir.join("keys"), &data_dir.join("datakeys"));
        vault.map(Journals).map_err(|error| format!("the vault: {error}"))
    }

    /// The uses in a frame, and when the last of them was decided.
    fn uses(&self, frame: &Frame<'_>) -> Result<(Counts, i64), String> {
        let place =
            |what: &str| format!("journal {}, frame {}: {what}", frame.journal, frame.sequence);
        let clear = self.unseal(frame).ok_or_else(|| place("does not open"))?;
        let flushed =
            Decoder::default().decode(&clear).map_err(|error| place(&error.to_string()))?;
        let (mut counts, mut latest) = (Counts::new(), i64::MIN);
        for used in flushed.uses {
            let key = match used.tried {
                Tried::Key(key, _) => key.to_string(),
                Tried::Unknown(_) => String::new(),
            };
            *counts.entry(outcome_of(&key, used.outcome)).or_default() += 1;
            latest = latest.max(used.time.as_micros());
        }
        Ok((counts, latest))
    }

    fn unseal(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let (scheme, rest) = frame.payload.split_first_chunk::<4>()?;
        let (data_key, rest) = rest.split_first_chunk::<8>()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<12>()?;
        let sealed = Sealed {
            scheme: u32::from_be_bytes(*scheme),
            data_key: DataKeyId(u64::from_be_bytes(*data_key)),
            nonce: *nonce,
            ciphertext: ciphertext.into(),
        };
        let place = [frame.journal.to_be_bytes(), frame.sequence.to_be_bytes()].concat();
        let event_id = EventId(place.try_into().ok()?);
        let context = SealContext { tenant: None, account: None, kind: 0, event_id };
        self.0.data_keys.open_sealed(&sealed, &context).ok().map(|clear| clear.to_vec())
    }

    /// The uses in each journal that is there, by its number.
    pub fn left(&self, data_dir: &Path) -> Result<BTreeMap<u64, Counts>, String> {
        let entries = fs::read_dir(data_dir.join("usage")).map_err(|error| error.to_string())?;
        let mut left = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == "roll" {
                continue;
            }
            if !name.ends_with(".klj") {
                return Err(format!("{name} is left where journals are"));
            }
            let bytes = fs::read(&path).map_err(|error| error.to_string())?;
            let mut rest = bytes.get(HEADER_BYTES..).ok_or_else(|| format!("{name}: no header"))?;
            while let Some(frame) = frame_at(rest) {
                if frame.kind == USES {
                    let of_journal: &mut Counts = left.entry(frame.journal).or_default();
                    add(of_journal, &self.uses(&frame)?.0);
                }
                rest = &rest[frame.length..];
            }
            if !rest.is_empty() {
                return Err(format!("{name} ends with {} bytes that are no frame", rest.len()));
            }
        }
        Ok(left)
    }

    /// The frames that were written in a trace.
    pub fn flushes(&self, ops: &[Op]) -> Vec<Flush> {
        let mut flushes = Vec::<Flush>::new();
        let mut unsynced = HashMap::<u64, usize>::new();
        for (at, frame) in frames(ops) {
            match frame {
                Written::Frame(inode, frame) if frame.kind == USES => {
                    let (uses, latest) = self.uses(&frame).expect("a frame of ours");
                    unsynced.insert(inode, flushes.len());
                    flushes.push(Flush { written: at, synced: None, uses, latest });
                }
                Written::Frame(..) => {}
                Written::Synced(inode) => {
                    if let Some(flush) = unsynced.remove(&inode) {
                        flushes[flush].synced = Some(at);
                    }
                }
            }
        }
        flushes
    }
}

fn outcome_of(key: &str, outcome: UseOutcome) -> String {
    name_of(key, &format!("{outcome:?}"))
}

pub fn add(counts: &mut Counts, more: &Counts) {
    more.iter().for_each(|(name, count)| *counts.entry(name.clone()).or_default() += count);
}

/// What was done to a journal.
enum Written<'a> {
    /// Each frame is one write.
    Frame(u64, Frame<'a>),
    Synced(u64),
}

/// What was done to journals, and by which operation.
fn frames(ops: &[Op]) -> impl Iterator<Item = (usize, Written<'_>)> {
    let mut journals = HashMap::new();
    ops.iter().enumerate().filter_map(move |(at, op)| match op {
        // The number of a removed file may be used again.
        Op::MakeFile { path, inode } => {
            journals.insert(*inode, path.starts_with(USAGE));
            None
        }
        Op::Write { inode, at: place, data } if journals.get(inode) == Some(&true) => {
            // Its header comes first.
            let frame = (*place >= HEADER_BYTES).then(|| frame_at(data).expect("a whole frame"));
            frame.map(|frame| (at, Written::Frame(*inode, frame)))
        }
        Op::SyncData { inode } if journals.get(inode) == Some(&true) => {
            Some((at, Written::Synced(*inode)))
        }
        _ => None,
    })
}

/// For each journal that was ended because another followed: the operation behind which it was over.
pub fn ends(ops: &[Op]) -> BTreeMap<u64, usize> {
    let (mut ending, mut ends) = (HashMap::new(), BTreeMap::new());
    for (at, what) in frames(ops) {
        match what {
            Written::Frame(inode, frame) if frame.kind == ROTATED => {
                ending.insert(inode, frame.journal);
            }
            Written::Synced(inode) => {
                ends.extend(ending.remove(&inode).map(|journal| (journal, at)));
            }
            Written::Frame(..) => {}
        }
    }
    ends
}

/// The number of the journal whose file this is.
pub fn journal_of(path: &str) -> Option<u64> {
    path.strip_prefix(USAGE)?.strip_prefix("usage-")?.strip_suffix(".klj")?.parse().ok()
}

/// The whole frame that begins with these bytes.
fn frame_at(bytes: &[u8]) -> Option<Frame<'_>> {
    if !bytes.starts_with(b"KLUF") {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let payload = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    let end = FRAME_HEAD_BYTES + payload;
    let checksum = bytes.get(end..end + CHECKSUM_BYTES)?;
    let whole = crc32fast::hash(&bytes[..end]).to_be_bytes() == checksum;
    let frame = Frame {
        kind: bytes[8],
        journal: number(16)?,
        sequence: number(24)?,
        payload: &bytes[FRAME_HEAD_BYTES..end],
        length: end + CHECKSUM_BYTES,
    };
    whole.then_some(frame)
}
