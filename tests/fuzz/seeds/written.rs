//! What a server writes and answers: records, pages, what auditors take away.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyledger::archive::{ArchiveWriter, Proof};
use keyledger::ledger::record::glance;
use keyledger::merkle::Hash;
use keyledger::merkle::note::VerifierKey;
use keyledger::proto::v1;
use keyledger::verify::{History, Part, Scope};

use super::{Seed, bad, good};
use crate::targets::messages::{Rpc, rpcs};
use crate::targets::notes::ORIGIN;
use crate::targets::wire::{Field, Value, fields};
use crate::targets::world::{World, framed};

pub fn all(world: &mut World) -> Vec<Seed> {
    let signed: v1::GetCheckpointResponse =
        world.ask("AuditService/GetCheckpoint", &v1::GetCheckpointRequest::default());
    let note = signed.checkpoint;
    let size: u64 = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    let keys: v1::GetVerifierKeyResponse =
        world.ask("AuditService/GetVerifierKey", &v1::GetVerifierKeyRequest::default());
    let events: Vec<v1::StreamEventsResponse> =
        world.stream("AuditService/StreamEvents", &v1::StreamEventsRequest::default());
    let events: Vec<v1::AuditEvent> = events
        .into_iter()
        .filter_map(|one| match one.answer {
            Some(v1::stream_events_response::Answer::Event(event)) if event.position <= size => {
                Some(*event)
            }
            _ => None,
        })
        .collect();
    let mut seeds = records(&events);
    seeds.extend(exported(&note, &keys.verifier_key, &events));
    seeds.push(good("proofs", "inclusion", proof(world, &note, size, &events).to_string()));
    seeds.push(good("notes", "checkpoint", note));
    seeds.push(good("notes", "verifier-key", keys.verifier_key));
    seeds.push(bad("notes", "text", format!("{ORIGIN}\n5\n{}\n", STANDARD.encode([7; 32]))));
    seeds.extend(state(&events));
    seeds.extend(tokens(world));
    seeds
}

/// One record of each kind.
fn records(events: &[v1::AuditEvent]) -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for event in events {
        let kind = glance(&event.record).expect("a record").kind;
        let name = format!("kind-{kind}");
        if !seeds.iter().any(|seed| seed.name == name) {
            seeds.push(good("records", &name, event.record.clone()));
        }
    }
    seeds
}

fn disclosed(event: &v1::AuditEvent) -> Vec<u8> {
    event.disclosure.as_ref().map(|shown| shown.personal.clone()).unwrap_or_default()
}

/// An archive, unpacked: packed it would be its own checksum's.
fn exported(note: &str, key: &str, events: &[v1::AuditEvent]) -> Vec<Seed> {
    let key = VerifierKey::parse(key).expect("a key");
    let mut to = ArchiveWriter::begin(Vec::new(), note, &[key], true).expect("begun");
    for event in events {
        to.add(&event.record, &disclosed(event)).expect("added");
    }
    let packed = to.finish().expect("all that was signed");
    let mut tar = Vec::new();
    let mut from = flate2::bufread::GzDecoder::new(&packed[..]);
    std::io::Read::read_to_end(&mut from, &mut tar).expect("packed");
    vec![good("archives", "packed", packed), good("archives", "unpacked", tar)]
}

fn proof(world: &mut World, note: &str, size: u64, events: &[v1::AuditEvent]) -> Proof {
    let event = &events[2];
    let request = v1::GetInclusionProofRequest { position: event.position, tree_size: size };
    let found: v1::GetInclusionProofResponse =
        world.ask("AuditService/GetInclusionProof", &request);
    let hash = |hash: Vec<u8>| Hash(hash.try_into().expect("as long as a hash"));
    Proof {
        record: event.record.clone(),
        disclosed: disclosed(event),
        leaf: event.position - 1,
        hashes: found.hashes.into_iter().map(hash).collect(),
        note: note.to_owned(),
    }
}

fn state(events: &[v1::AuditEvent]) -> Vec<Seed> {
    let mut history = History::default();
    for event in events {
        history.take(&event.record, None).expect("a sound history");
    }
    let part = Part::of(Scope::parse("acme", "", "").expect("a scope"));
    vec![
        good("kept_state", "whole", history.to_bytes(ORIGIN)),
        good("kept_state", "part", part.to_bytes(ORIGIN)),
    ]
}

/// The token of the second page of each list, as far as there are two.
fn tokens(world: &mut World) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for Rpc { path, request, page_token, .. } in rpcs() {
        if page_token.is_none() {
            continue;
        }
        let (admin, sent) = (world.admin.clone(), world.filled_in(&request));
        let Some(answer) = world.call(&path, Some(&admin), framed(&sent)).message else { continue };
        let name = path.rsplit('/').next().expect("a name");
        for Field { value, .. } in fields(&answer).unwrap_or_default() {
            let Value::Bytes(text) = value else { continue };
            let pairs = text.chunks(2).map(|pair| std::str::from_utf8(pair).ok());
            let bytes: Option<Vec<u8>> =
                pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
            let bytes = bytes.filter(|bytes| bytes.len() > 12 && bytes[0] == 1);
            if let Some(token) = bytes {
                let token = &token[..token.len() - 4];
                seeds.push(good("page_tokens", name, [path.as_bytes(), b"\n", token].concat()));
            }
        }
    }
    seeds
}
