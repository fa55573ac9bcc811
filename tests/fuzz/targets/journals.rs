//! Targets that read the files of uses on their way to the log.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use keyledger::domain::time::Time;
use keyledger::usage::journal::{Cover, Ending, JournalError, JournalNumber, Journals};

use super::{number, scratch, seal};

/// Bytes of a journal's header, of a frame before its payload, and of a checksum.
const HEADER: usize = 36;
const FRAME_HEAD: usize = 48;
const CHECKSUM: usize = 4;

/// Covers nothing: what is behind the cover is another target.
pub struct Clear;

impl Cover for Clear {
    fn seal(&self, _: JournalNumber, _: u64, clear: &[u8]) -> Vec<u8> {
        clear.to_vec()
    }

    fn open(&self, _: JournalNumber, _: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

/// Reading a journal comes to an end, twice the same; what is put behind a crash is found there, and takes no
/// frame away.
pub fn journals(input: &[u8]) -> bool {
    let whole = journal(input);
    let mut resealed = input.to_vec();
    if seal_journal(&mut resealed).is_some() {
        journal(&resealed);
    }
    whole
}

fn emptied(name: &str) -> (std::path::PathBuf, Journals) {
    let dir = scratch(name);
    let _ = fs::remove_dir_all(&dir);
    let journals = Journals::open(&dir, Arc::new(Clear)).expect("an empty directory");
    (dir, journals)
}

fn journal(bytes: &[u8]) -> bool {
    let number = number(bytes, 8).and_then(JournalNumber::new).unwrap_or(JournalNumber::FIRST);
    let (dir, journals) = emptied("journals");
    fs::write(dir.join(Journals::file_name(number)), bytes).expect("written");
    let mut frames = Vec::new();
    let all = journals.read_all(|_, frame| frames.push(frame));
    let examined = journals.examine().expect("listed");
    let [(_, again)] = &examined[..] else { panic!("one journal") };
    let all = match all {
        Ok(all) => all,
        Err(refused) => {
            assert!(matches!(refused, JournalError::Newer { .. }), "{refused}");
            return false;
        }
    };
    let Some(found) = all.first() else {
        assert!(matches!(again, Err(JournalError::Damaged { .. })));
        headless(&journals, &dir, bytes);
        return false;
    };
    assert_eq!(again.as_ref().ok(), Some(found));
    assert_eq!(found.frames, frames.len() as u64);
    assert!(frames.windows(2).all(|two| two[0].sequence < two[1].sequence));
    if matches!(found.ending, Ending::Unfinished { .. }) {
        journals.put_end(found, Time::from_micros(1)).expect("ended");
        let mut behind = Vec::new();
        let ended = journals.read_all(|_, frame| behind.push(frame)).expect("read");
        assert_eq!((ended[0].ending, behind), (Ending::Recovered, frames));
    }
    found.damaged_at.is_none()
}

/// A journal whose header is damaged is set aside and passed over.
fn headless(journals: &Journals, dir: &Path, bytes: &[u8]) {
    let (headers, headless) = journals.headers().expect("listed");
    let [found] = headless[..] else { panic!("one without a header, not {headers:?}") };
    journals.set_aside(found.number).expect("set aside");
    let kept = fs::read(dir.join(Journals::name_aside(found.number))).expect("kept");
    assert_eq!((kept, journals.list()), (bytes.to_vec(), Ok(Vec::new())));
}

/// Makes the checksums hold of a journal's header and of its frames, as far as their lengths lead.
fn seal_journal(bytes: &mut [u8]) -> Option<()> {
    seal(bytes, 0..HEADER)?;
    let mut at = HEADER;
    while let Some(length) = bytes.get(at + 4..at + 8) {
        let length = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
        let end = at + FRAME_HEAD + length + CHECKSUM;
        seal(bytes, at..end)?;
        at = end;
    }
    Some(())
}

/// A roll that is taken is written again as it was.
pub fn rolls(input: &[u8]) -> bool {
    let whole = roll(input);
    let mut resealed = input.to_vec();
    let end = resealed.len();
    if seal(&mut resealed, 0..end).is_some() {
        roll(&resealed);
    }
    whole
}

fn roll(bytes: &[u8]) -> bool {
    let (dir, journals) = emptied("rolls");
    let path = dir.join(Journals::ROLL);
    fs::write(&path, bytes).expect("written");
    match journals.roll() {
        Ok(listed) => {
            journals.put_roll(&listed).expect("written");
            assert_eq!(fs::read(&path).expect("read"), bytes);
            true
        }
        Err(refused) => {
            assert!(matches!(refused, JournalError::DamagedRoll));
            false
        }
    }
}
