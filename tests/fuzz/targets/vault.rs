//! Targets that read the files of keys, and of the data keys they wrap.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::from_utf8;

use keyledger::domain::base62;
use keyledger::vault::{DataKeys, KekRing, PepperRing, SigningRing};

use super::{scratch, seal};

/// The key that wrapped the data keys of the corpora: that of the fixtures, made for them and worth nothing.
const KEK: &str = include_str!("../keys/kek-1.key");

/// Bytes of a slot.
const SLOT: usize = 128;

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::write(&path, bytes).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("for its owner alone");
}

/// The key-encryption keys under which the corpora are.
pub fn keks() -> KekRing {
    let dir = scratch("keks");
    fs::create_dir_all(&dir).expect("made");
    put(&dir, "kek-1.key", KEK.as_bytes());
    KekRing::open(&dir).expect("a key")
}

/// A key file that is taken is one line of four words, written in the one way there is; a refusal shows none of
/// them.
pub fn key_files(input: &[u8]) -> bool {
    let whole = key_file(input);
    let text = from_utf8(input).ok();
    if let Some((checked, _)) = text.and_then(|text| text.rsplit_once(' ')) {
        let check = base62::encode(&crc32fast::hash(checked.as_bytes()).to_be_bytes());
        key_file(format!("{checked} {check}\n").as_bytes());
    }
    whole
}

fn key_file(bytes: &[u8]) -> bool {
    let dir = scratch("keys");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("made");
    let text = from_utf8(bytes).unwrap_or_default();
    let words: Vec<_> = text.trim_end_matches('\n').split(' ').collect();
    let version = words.get(1).filter(|word| word.bytes().all(|b| b.is_ascii_digit()));
    let version = version.copied().filter(|word| (1..5).contains(&word.len())).unwrap_or("1");
    let role = words[0].strip_prefix("keyledger-").unwrap_or_default();
    let role = ["kek", "signing"].into_iter().find(|known| role == *known).unwrap_or("pepper");
    put(&dir, &format!("{role}-{version}.key"), bytes);
    let taken = match role {
        "kek" => KekRing::open(&dir).map(drop),
        "signing" => SigningRing::open(&dir).map(drop),
        _ => PepperRing::open(&dir).map(drop),
    };
    match taken {
        Ok(()) => {
            let [_, _, digits, check] = words[..] else { panic!("{text:?} was taken") };
            let key = base62::decode::<32>(digits.as_bytes()).expect("a key");
            let line = format!("keyledger-{role} {version} {} {check}\n", base62::encode(&key));
            assert_eq!(line, text);
            true
        }
        Err(refused) => {
            let (told, shown) = (refused.to_string(), format!("{refused:?}"));
            for word in words.iter().filter(|word| word.len() > 20) {
                assert!(!told.contains(word) && !shown.contains(word), "{told} shows a word");
            }
            false
        }
    }
}

/// Data keys that are taken are read from whole slots, and again the same; opening them changes nothing.
pub fn data_keys(input: &[u8]) -> bool {
    let whole = slots(input);
    let mut resealed = input.to_vec();
    for at in (0..input.len()).step_by(SLOT) {
        let _ = seal(&mut resealed, at..at + SLOT);
    }
    slots(&resealed);
    whole
}

fn slots(bytes: &[u8]) -> bool {
    let path = scratch("datakeys");
    fs::write(&path, bytes).expect("written");
    let opened = DataKeys::open(&path, keks());
    assert_eq!(fs::read(&path).expect("read"), bytes);
    let Ok(keys) = opened else {
        assert!(DataKeys::open_to_read(&path, keks()).is_err());
        return false;
    };
    let mut read = 0;
    let mut each = |bytes| {
        read += bytes;
        ControlFlow::Continue(())
    };
    let examined = keys.examine(&mut each).expect("what was read is there");
    assert_eq!(examined, ControlFlow::Continue(()));
    assert_eq!(read + keys.unfinished() as u64, bytes.len() as u64);
    keys.cut_unfinished().expect("cut");
    let again = DataKeys::open(&path, keks()).expect("opened again");
    assert_eq!(again.unfinished(), 0);
    DataKeys::open_to_read(&path, keks()).is_ok()
}
