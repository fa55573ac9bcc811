//! A witness, and a house with some. As C2SP tlog-witness says, it remembers the largest checkpoint it has cosigned, and
//! cosigns what continues it. Proofs are held to the tree by another implementation.

use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::{ConsistencyProof, RootHash};
use ed25519_dalek::{Signer as _, SigningKey};
use keyledger::clock::ManualClock;
use keyledger::merkle::Hash;
use keyledger::merkle::checkpoint::{Checkpoint, CheckpointError};
use keyledger::merkle::cosignature::{WitnessKey, cosigned, message, signature_line};
use keyledger::merkle::note::{KeyName, NoteError, VerifierKey};
use keyledger::proto::v1;
use sha2::Sha256;
use tempfile::TempDir;

use super::desk::verifier_key;
use super::receiver::{Answer, Posted, Receiver};
use super::{Client, TestServer};

/// How a witness behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// As the specification says.
    Well,
    /// It answers nothing but that it is unavailable.
    Gone,
    /// It signs another text, with the right key.
    WrongText,
    /// It signs with another key.
    WrongKey,
    /// It answers something else.
    Garbage,
    /// It puts another checkpoint behind its answer, cosigned.
    Smuggles,
}

/// What a witness remembers and how it behaves.
pub struct State {
    /// The keys of the logs that it knows, each of the origin that is its name.
    pub logs: Vec<VerifierKey>,
    pub size: u64,
    pub root: Hash,
    pub conduct: Conduct,
    /// What its clock says, in seconds since 1970.
    pub time: u64,
}

/// Ends when it is dropped.
pub struct Witness {
    pub key: WitnessKey,
    receiver: Receiver,
    state: Arc<Mutex<State>>,
}

impl Witness {
    /// A witness that knows a log.
    pub async fn start(name: &str, seed: u8, logs: &[VerifierKey]) -> Self {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let name = KeyName::parse(name).expect("a name");
        let key = WitnessKey::of(name, &signing.verifying_key().to_bytes()).expect("a key");
        let (conduct, time) = (Conduct::Well, 1_767_225_600);
        let (logs, root) = (logs.to_vec(), Hash([0; 32]));
        let state = Arc::new(Mutex::new(State { logs, size: 0, root, conduct, time }));
        let (own, now) = (key.clone(), Arc::clone(&state));
        let answer = move |posted: &Posted| {
            let mut state = now.lock().expect("no panic");
            state.answer(posted, &own, &signing)
        };
        Witness { key, receiver: Receiver::start(answer).await, state }
    }

    /// How it is configured.
    pub fn settings(&self) -> String {
        let Witness { key, receiver, .. } = self;
        format!("[[audit.witnesses]]\nurl = \"{}/prefix/\"\nkey = \"{key}\"\n", receiver.url)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// The size and the root that it cosigned last.
    pub fn seen(&self) -> (u64, Hash) {
        let state = self.state();
        (state.size, state.root)
    }

    pub fn behave(&self, conduct: Conduct) {
        self.state().conduct = conduct;
    }

    /// The size that the next request is from.
    pub async fn asked_from(&mut self) -> u64 {
        old_size(&self.receiver.next().await)
    }

    /// The sizes of the requests since.
    pub fn asked(&mut self) -> Vec<u64> {
        self.receiver.rest().iter().map(old_size).collect()
    }
}

fn old_size(posted: &Posted) -> u64 {
    let line = posted.body.split('\n').next().expect("a first line");
    line.strip_prefix("old ").expect("an old size").parse().expect("a number")
}

impl State {
    fn answer(&mut self, posted: &Posted, key: &WitnessKey, signing: &SigningKey) -> Answer {
        if posted.path != "/prefix/add-checkpoint" {
            return Answer::of(405);
        }
        if self.conduct == Conduct::Gone {
            return Answer::of(503);
        }
        match self.add(&posted.body) {
            Ok(text) => Answer { body: self.cosign(&text, key, signing), ..Answer::of(200) },
            Err(409) => Answer {
                body: format!("{}\n", self.size),
                content_type: Some("text/x.tlog.size".to_owned()),
                ..Answer::of(409)
            },
            Err(status) => Answer::of(status),
        }
    }

    /// The checkpoint's text, which is remembered; otherwise the status that the specification says.
    fn add(&mut self, body: &str) -> Result<String, u16> {
        let (head, note) = body.split_once("\n\n").ok_or(400_u16)?;
        let mut lines = head.split('\n');
        let digits = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(400_u16)?;
        let old: u64 = digits.parse().map_err(|_| 400_u16)?;
        let hash = |line| STANDARD.decode(line).ok().filter(|hash| hash.len() == 32);
        let hashes = lines.map(hash).collect::<Option<Vec<_>>>().ok_or(400_u16)?;
        let origin = note.split('\n').next().expect("a first line");
        if !self.logs.iter().any(|key| key.name().as_str() == origin) {
            return Err(404);
        }
        let checkpoint = match Checkpoint::open(note, &self.logs) {
            Err(CheckpointError::Note(NoteError::UnknownKeys | NoteError::BadSignature)) => {
                return Err(403);
            }
            opened => opened.map_err(|_| 400_u16)?,
        };
        let Checkpoint { size, root, .. } = checkpoint;
        let zero_led = digits.len() > 1 && digits.starts_with('0');
        if zero_led || hashes.len() > 63 || old > size {
            return Err(400);
        }
        if old != self.size || (old == size && root != self.root) {
            return Err(409);
        }
        let proved = match old {
            0 => hashes.is_empty(),
            same if same == size => hashes.is_empty(),
            _ => continues((old, self.root), (size, root), hashes.concat()),
        };
        if !proved {
            return Err(422);
        }
        (self.size, self.root) = (size, root);
        Ok(checkpoint.text())
    }

    fn cosign(&self, text: &str, key: &WitnessKey, signing: &SigningKey) -> String {
        let line = |text: &str, signing: &SigningKey| {
            let signature = signing.sign(message(text, self.time).as_bytes());
            signature_line(key, self.time, &signature.to_bytes())
        };
        let other = text.replacen('\n', "/other\n", 1);
        match self.conduct {
            Conduct::Well | Conduct::Gone => {
                // A line by a key that nobody knows, as a witness with a second key has.
                let unknown = SigningKey::from_bytes(&[0xee; 32]);
                let name = KeyName::parse("unknown.example").expect("a name");
                let by = WitnessKey::of(name, &unknown.verifying_key().to_bytes()).expect("a key");
                let unknown = unknown.sign(message(text, self.time).as_bytes());
                let unknown = signature_line(&by, self.time, &unknown.to_bytes());
                format!("{unknown}{}", line(text, signing))
            }
            Conduct::WrongText => line(&other, signing),
            Conduct::WrongKey => line(text, &SigningKey::from_bytes(&[0xdd; 32])),
            Conduct::Garbage => "thank you\n".to_owned(),
            Conduct::Smuggles => {
                let own = line(text, signing);
                format!("{own}\n{other}\n{}", line(&other, signing))
            }
        }
    }
}

fn continues((old, before): (u64, Hash), (size, after): (u64, Hash), proof: Vec<u8>) -> bool {
    let root = |size, root: Hash| RootHash::<Sha256>::new(root.0.into(), size);
    let proof = ConsistencyProof::<Sha256>::try_from_bytes(proof);
    proof
        .is_ok_and(|proof| root(size, after).verify_consistency(&root(old, before), &proof).is_ok())
}

/// A log and its witnesses.
pub struct House {
    pub server: TestServer,
    pub client: Client,
    pub log: VerifierKey,
    pub witnesses: Vec<Witness>,
}

/// A log that so many witnesses know, with a server that asks them; `quorum` is a line of `[audit]`.
pub async fn house(count: u8, quorum: &str) -> House {
    // The log's key is there once it has been started.
    let server = TestServer::start().await;
    let log = verifier_key(&server.admin().await).await;
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    let mut witnesses = Vec::new();
    for seed in 1..=count {
        let name = format!("witness.example/w{seed}");
        witnesses.push(Witness::start(&name, seed, std::slice::from_ref(&log)).await);
    }
    let settings: String = witnesses.iter().map(Witness::settings).collect();
    let server = serve(&dir, &clock, &format!("[audit]\n{quorum}\n{settings}")).await;
    let client = server.admin().await;
    House { server, client, log, witnesses }
}

pub async fn serve(dir: &Arc<TempDir>, clock: &Arc<ManualClock>, config: &str) -> TestServer {
    TestServer::builder().dir(dir).clock(clock).config(config).ops().start().await
}

impl House {
    /// The cosigned checkpoint that the server answers, and by how many of the witnesses; waits until it covers a
    /// position and so many have.
    pub async fn cosigned(&self, min_size: u64, by: usize) -> String {
        loop {
            let note = cosigned_checkpoint(&self.client).await;
            if note.is_empty() {
                continue;
            }
            let checkpoint = Checkpoint::open(&note, std::slice::from_ref(&self.log));
            let size = checkpoint.expect("signed by the log").size;
            if size >= min_size && cosigned(&note, &self.keys()).expect("they hold").len() >= by {
                return note;
            }
        }
    }

    pub fn keys(&self) -> Vec<WitnessKey> {
        self.witnesses.iter().map(|witness| witness.key.clone()).collect()
    }

    /// Adds to the log; a checkpoint of all of it can be made when this returns.
    pub async fn grow(&self, account: &str) -> u64 {
        self.client.grow(account).await
    }

    pub async fn restart(self) -> House {
        let House { server, client, log, witnesses } = self;
        drop(client);
        let settings: String = witnesses.iter().map(Witness::settings).collect();
        let clock = Arc::clone(&server.clock);
        let server = serve(&server.stop().await, &clock, &settings).await;
        let client = server.admin().await;
        House { server, client, log, witnesses }
    }
}

pub async fn cosigned_checkpoint(client: &Client) -> String {
    let answer = client.audit.clone().get_checkpoint(v1::GetCheckpointRequest::default()).await;
    answer.expect("a checkpoint").into_inner().cosigned_checkpoint
}
