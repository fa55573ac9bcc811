//! `keyledger audit verify --archive` and `--proof`, the real program without a server: what was exported is sound
//! to who trusts the log's key, and whatever was done to it is refused.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};

use common::desk::{Desk, Ran, events, verifier_key, with_history};
use ed25519_dalek::{Signer as _, SigningKey};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use keyledger::archive::{ArchiveWriter, Proof};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::{KeyName, VerifierKey};
use keyledger::merkle::{Frontier, Hash, leaf_hash};
use keyledger::proto::v1;
use serde_json::Value;

const ARCHIVE: &str = "history.tar.gz";

/// What is wrong, in the words of a verdict that says so.
fn fault(ran: &Ran) -> String {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let verdict: Value = serde_json::from_str(ran.out.trim()).expect("a verdict");
    assert_eq!(verdict["sound"], false, "{ran:?}");
    verdict["fault"].as_str().expect("a fault").to_owned()
}

/// An archive of a server that is gone, the log's key, and what the archive is of.
async fn exported() -> (Desk, VerifierKey, Vec<v1::AuditEvent>) {
    let (server, _) = with_history().await;
    let desk = Desk::at(&server);
    let (client, export) = (server.admin().await, ["export", "--archive", ARCHIVE]);
    let (key, events) = (verifier_key(&client).await, events(&client).await);
    desk.audit(&export).await.json();
    drop(client);
    server.stop().await;
    (desk, key, events)
}

async fn verified(desk: &Desk, archive: &str, key: &VerifierKey) -> Ran {
    desk.audit(&["verify", "--archive", archive, "--verifier-key", &key.to_string()]).await
}

/// The members of an archive: names and contents.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut tar).expect("gzip");
    let (mut members, mut rest) = (Vec::new(), &tar[..]);
    while rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            let bytes = rest[range].split(|byte| *byte == 0).next().expect("a first");
            std::str::from_utf8(bytes).expect("text").to_owned()
        };
        let (name, size) =
            (text(0..100), usize::from_str_radix(&text(124..136), 8).expect("octal"));
        members.push((name, rest[512..512 + size].to_vec()));
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    members
}

/// An archive of these members, each under a header as the document says.
fn packed(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, content) in members {
        let mut header = [0; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\x000000000\x000000000\0");
        put(124, &format!("{:011o}\0{:011o}\0        0", content.len(), 0));
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        gzip.write_all(&header).expect("written");
        gzip.write_all(content).expect("written");
        let padding = content.len().next_multiple_of(512) - content.len();
        gzip.write_all(&vec![0; padding]).expect("written");
    }
    gzip.write_all(&[0; 1024]).expect("written");
    gzip.finish().expect("written")
}

/// The items of a bundle.
fn items(mut bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    while let [high, low, rest @ ..] = bundle {
        let (item, behind) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        items.push(item.to_vec());
        bundle = behind;
    }
    items
}

fn bundle(items: &[Vec<u8>]) -> Vec<u8> {
    let length = |item: &[u8]| u16::try_from(item.len()).expect("short").to_be_bytes();
    items.iter().flat_map(|item| [&length(item)[..], item].concat()).collect()
}

type Entry = (Vec<u8>, Vec<u8>);

fn entries(events: &[v1::AuditEvent]) -> Vec<Entry> {
    let clear = |event: &v1::AuditEvent| {
        event.disclosure.as_ref().map(|shown| shown.personal.clone()).unwrap_or_default()
    };
    events.iter().map(|event| (event.record.clone(), clear(event))).collect()
}

/// An archive of these records as the holder of another key of the log's name would make it.
fn forged(origin: &str, entries: &[Entry]) -> (VerifierKey, Vec<u8>) {
    let secret = SigningKey::from_bytes(&[7; 32]);
    let name = KeyName::parse(origin).expect("a name");
    let key = VerifierKey::of(name.clone(), secret.verifying_key().as_bytes()).expect("a key");
    let mut tree = Frontier::new();
    entries.iter().for_each(|(record, _)| tree.push(leaf_hash(record)));
    let text = Checkpoint { origin: name, size: tree.size(), root: tree.root() }.text();
    let line = key.signature_line(&secret.sign(text.as_bytes()).to_bytes());
    let note = format!("{text}\n{line}");
    let mut writer =
        ArchiveWriter::begin(Vec::new(), &note, std::slice::from_ref(&key), true).expect("begun");
    for (record, clear) in entries {
        writer.add(record, clear).expect("written");
    }
    (key, writer.finish().expect("written"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_sound_to_who_trusts_the_key_though_the_server_is_gone() {
    let (desk, key, events) = exported().await;
    let verdict = verified(&desk, ARCHIVE, &key).await.json();
    assert_eq!((&verdict["sound"], &verdict["form"]), (&true.into(), &"archive".into()));
    let size = events.len();
    assert_eq!((&verdict["tree_size"], &verdict["records"]), (&size.into(), &size.into()));
    let shown = events.iter().filter(|event| event.disclosure.is_some()).count();
    assert_eq!((&verdict["disclosed"], &verdict["undisclosed"]), (&shown.into(), &0.into()));
    assert_eq!(verdict["signed_by"][0], format!("{}+{}", key.name(), key.id_text()));

    fs::write(desk.path("log.key"), format!("{key}\n")).expect("written");
    let from_file = ["verify", "--archive", ARCHIVE, "--verifier-key", "log.key"];
    assert_eq!(desk.audit(&from_file).await.json(), verdict);
    let told = [&from_file[..], &["--output", "table"]].concat();
    let told = desk.audit(&told).await.out;
    assert!(told.contains("sound: the archive") && told.contains("a later archive"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_came_with_the_archive_vouches_for_nothing() {
    let (desk, key, events) = exported().await;
    let unvouched = fault(&desk.audit(&["verify", "--archive", ARCHIVE]).await);
    assert!(unvouched.contains("nobody has vouched"), "{unvouched}");
    assert!(unvouched.ends_with(&format!("--verifier-key {key}")), "{unvouched}");
    let (other, forged) = forged(key.name().as_str(), &entries(&events));
    let foreign = fault(&verified(&desk, ARCHIVE, &other).await);
    assert!(foreign.contains("none of the known keys"), "{foreign}");
    let named = |key: &VerifierKey| format!("{}+{}", key.name(), key.id_text());
    let whose = format!("of the log {}, signed by {}", key.name(), named(&key));
    assert!(foreign.contains(&whose) && foreign.ends_with(&named(&other)), "{foreign}");
    fs::write(desk.path("forged.tar.gz"), forged).expect("written");
    assert!(
        fault(&verified(&desk, "forged.tar.gz", &key).await).contains("none of the known keys")
    );
}

/// An archive to be altered: README, checkpoint, keys, and one bundle: records, disclosures, their tile.
struct Unpacked(Vec<(String, Vec<u8>)>);

impl Unpacked {
    fn with(&self, at: usize, content: Vec<u8>) -> Vec<u8> {
        let mut members = self.0.clone();
        members[at].1 = content;
        packed(&members)
    }

    /// With one bit of a member flipped.
    fn flipped(&self, at: usize, byte: usize) -> Vec<u8> {
        let mut content = self.0[at].1.clone();
        content[byte] ^= 1;
        self.with(at, content)
    }

    /// With other words in a member.
    fn told(&self, at: usize, from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(self.0[at].1.clone()).expect("text");
        assert!(text.contains(from), "{text}");
        self.with(at, text.replacen(from, to, 1).into_bytes())
    }

    /// With other records.
    fn records(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let mut items = items(&self.0[3].1);
        change(&mut items);
        self.with(3, bundle(&items))
    }

    /// With other members.
    fn members(&self, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
        let mut members = self.0.clone();
        change(&mut members);
        packed(&members)
    }

    /// Where the last byte of the last disclosure is.
    fn end_of_a_name(&self) -> usize {
        let named = items(&self.0[4].1).into_iter().rfind(|clear| !clear.is_empty());
        let named = named.expect("something is disclosed");
        let at = self.0[4].1.windows(named.len()).position(|window| window == named);
        at.expect("there") + named.len() - 1
    }
}

/// Holds that each of these archives is refused in these words.
async fn all_refused(desk: &Desk, key: &VerifierKey, cases: Vec<(&str, Vec<u8>, &str)>) {
    for (what, bytes, words) in cases {
        fs::write(desk.path("a.tar.gz"), bytes).expect("written");
        let found = fault(&verified(desk, "a.tar.gz", key).await);
        assert!(found.contains(words), "{what}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_an_archive_is_refused_by_its_place() {
    let (desk, key, _) = exported().await;
    let a = Unpacked(members(&desk.read(ARCHIVE)));
    fs::write(desk.path("a.tar.gz"), packed(&a.0)).expect("written");
    assert_eq!(verified(&desk, "a.tar.gz", &key).await.code, Some(0), "packed anew");
    let (first, tile) = (&*a.0[3].0, &*a.0[5].0);
    let cases = vec![
        ("a record changed", a.records(|items| *items[4].last_mut().expect("bytes") ^= 1), ""),
        ("a record dropped", a.records(|items| drop(items.remove(4))), "position 5"),
        ("the last dropped", a.records(|items| drop(items.pop())), first),
        ("records swapped", a.records(|items| items.swap(4, 5)), "position 5"),
        ("a record inserted", a.records(|items| items.insert(4, items[4].clone())), "position 6"),
        ("one more at the end", a.records(|items| items.push(items[4].clone())), first),
        ("a record cut short", a.records(|items| items[4].truncate(9)), "position 5"),
        ("a name changed", a.flipped(4, a.end_of_a_name()), "disclosed of the record at position"),
        ("a disclosure dropped", a.with(4, a.0[4].1[2..].to_vec()), "position"),
        ("a tile changed", a.flipped(5, 0), tile),
        ("the size changed", a.told(1, "\n", "\n1"), "not one of this text"),
        ("the origin changed", a.told(1, "keyledger/", "keyledgex/"), "none of the known keys"),
        ("another key named", a.flipped(2, 0), "verifier.key"),
        (
            "other words for people",
            a.told(0, "Records:          ", "Records:          1"),
            "README",
        ),
    ];
    all_refused(&desk, &key, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_from_an_archive_moved_or_foreign_is_refused_by_its_place() {
    let (desk, key, _) = exported().await;
    let whole = desk.read(ARCHIVE);
    let a = Unpacked(members(&whole));
    let (first, clear, tile) = (&*a.0[3].0, &*a.0[4].0, &*a.0[5].0);
    let foreign = || ("tile/more".to_owned(), vec![1]);
    let cases = vec![
        ("the records missing", a.members(|members| drop(members.remove(3))), first),
        ("the tile missing", a.members(|members| drop(members.remove(5))), tile),
        ("disclosures first", a.members(|members| members.swap(3, 4)), clear),
        ("a foreign member", a.members(|members| members.insert(4, foreign())), "tile/more"),
        ("one behind", a.members(|members| members.push(foreign())), "something follows"),
        ("a foreign archive", packed(&[foreign()]), "no history archive"),
        ("cut off", whole[..whole.len() / 2].to_vec(), "it ends where"),
        ("gone on", [&whole[..], b"more"].concat(), "something follows"),
        ("no archive", b"text, and no gzip".to_vec(), "no history archive"),
        ("nothing", Vec::new(), "it is empty"),
    ];
    all_refused(&desk, &key, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_key_cannot_sign_what_does_not_hold_together() {
    let (desk, key, events) = exported().await;
    let found = async |entries: &[Entry]| {
        let (key, archive) = forged(key.name().as_str(), entries);
        fs::write(desk.path("forged.tar.gz"), archive).expect("written");
        verified(&desk, "forged.tar.gz", &key).await
    };
    let plain = entries(&events);
    assert_eq!(found(&plain).await.code, Some(0));
    let mut swapped = plain.clone();
    swapped.swap(4, 5);
    assert!(fault(&found(&swapped).await).contains("position 5 says it is at 6"));
    let mut missing = plain.clone();
    missing.remove(4);
    assert!(fault(&found(&missing).await).contains("position 5 says it is at 6"));
    let mut other = plain.clone();
    let disclosed: Vec<_> = (0..plain.len()).filter(|at| !plain[*at].1.is_empty()).collect();
    other[disclosed[1]].1 = plain[disclosed[0]].1.clone();
    let position = disclosed[1] + 1;
    assert!(
        fault(&found(&other).await)
            .contains(&format!("disclosed of the record at position {position}"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_must_continue_the_checkpoint_that_was_seen() {
    let (server, _) = with_history().await;
    let (desk, client) = (Desk::at(&server), server.admin().await);
    let key = verifier_key(&client).await.to_string();
    desk.audit(&["export", "--archive", "early.tar.gz"]).await.json();
    client.covered(client.put_account("more", "standard", &[]).await.position).await;
    let live = ["verify", "--state", "state", "--verifier-key", &key];
    let seen = desk.audit(&live).await.json()["tree_size"].clone();
    let state = desk.read("state");
    client.covered(client.put_account("later", "standard", &[]).await.position).await;
    desk.audit(&["export", "--archive", "late.tar.gz"]).await.json();
    let held = async |archive: &str, more: &[&str]| {
        let verify = ["verify", "--state", "state", "--archive", archive];
        desk.audit(&[&verify[..], more].concat()).await
    };
    assert_eq!(held("late.tar.gz", &[]).await.json()["continues_size"], seen);
    let early = held("early.tar.gz", &[]).await.json();
    assert_eq!(early["continues_size"], Value::Null);
    assert!(early["not_checked"].to_string().contains("it ends before"), "{early}");

    // Another history that holds together, signed by another key of the log's name which is trusted.
    let (other, _) = with_history().await;
    let other_client = other.admin().await;
    for account in ["a", "b", "c"] {
        other_client.put_account(account, "standard", &[]).await;
    }
    let origin = VerifierKey::parse(&key).expect("a key").name().to_string();
    let (trusted, archive) = forged(&origin, &entries(&events(&other_client).await));
    fs::write(desk.path("other.tar.gz"), archive).expect("written");
    let trust = ["--verifier-key", &trusted.to_string()];
    let found = fault(&held("other.tar.gz", &trust).await);
    assert_eq!(found, format!("the records up to position {seen} are not those that were signed"));
    assert!(desk.read("state") == state, "the state is only read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_file_is_sound_as_it_was_exported_and_in_no_other_way() {
    let (server, _) = with_history().await;
    let (desk, client) = (Desk::at(&server), server.admin().await);
    let key = verifier_key(&client).await;
    let all = events(&client).await;
    let revoked = |event: &&v1::AuditEvent| {
        event.disclosure.as_ref().is_some_and(|shown| shown.comment == "seen in a log")
    };
    let event = all.iter().find(revoked).expect("the revocation");
    let position = event.position.to_string();
    desk.audit(&["export", "--proof", "a.tlog-proof", "--position", &position]).await.json();
    drop(client);
    server.stop().await;
    let verify = ["verify", "--proof", "b.tlog-proof", "--verifier-key", &key.to_string()];
    let held = async |bytes: &[u8]| {
        fs::write(desk.path("b.tlog-proof"), bytes).expect("written");
        desk.audit(&verify).await
    };
    let text = String::from_utf8(desk.read("a.tlog-proof")).expect("text");
    let verdict = held(text.as_bytes()).await.json();
    assert_eq!((&verdict["kind"], &verdict["sound"]), (&"KEY_REVOKED".into(), &true.into()));
    assert_eq!(verdict["subject"]["account_id"], "billing");
    assert_eq!(verdict["personal"]["comment"], "seen in a log");
    let unsure = verdict["not_checked"].to_string();
    assert!(unsure.contains("before and after it"), "{unsure}");

    let proof = Proof::parse(&text).expect("a proof");
    let altered = |change: &dyn Fn(&mut Proof)| {
        let mut proof = proof.clone();
        change(&mut proof);
        proof.to_string().into_bytes()
    };
    let cases: [(Vec<u8>, &str); 9] = [
        (altered(&|proof| *proof.record.last_mut().expect("bytes") ^= 1), ""),
        (altered(&|proof| proof.disclosed[40] ^= 1), "not what it commits to"),
        (altered(&|proof| proof.leaf += 1), "says it is at"),
        (altered(&|proof| proof.leaf = u64::MAX), "no proof file"),
        (altered(&|proof| proof.hashes[0] = Hash([1; 32])), "not among the"),
        (altered(&|proof| proof.hashes.truncate(1)), "not among the"),
        (
            altered(&|proof| proof.note = proof.note.replacen('\n', "\n1", 1)),
            "not one of this text",
        ),
        (text.as_bytes()[..text.len() / 2].to_vec(), "no"),
        (vec![b'a'; 1024 * 1024], "no proof file"),
    ];
    for (bytes, words) in cases {
        let found = fault(&held(&bytes).await);
        assert!(found.contains(words), "{found}");
    }
    let alone = desk.audit(&["verify", "--proof", "a.tlog-proof"]).await;
    assert_eq!(alone.code, Some(2), "{alone:?}");
}
