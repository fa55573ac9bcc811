//! One trial: a directory that something happened to is started, read and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use keyledger::app::check::{self, Report, Settings};
use keyledger::clock::{Clock, ManualClock, SystemClock};
use keyledger::config::KeySettings;
use keyledger::domain::event::EventKind;
use keyledger::domain::ids::Position;
use keyledger::domain::key_format::KeyPrefix;
use keyledger::ledger::engine::Ledger;
use keyledger::ledger::record;
use keyledger::ledger::volumes::VolumeLedger;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use keyledger::random::SystemRandom;
use tempfile::TempDir;

use crate::common::TestServer;
use crate::image::Image;
use crate::made::{CONFIG, Secrets};

/// What volumes are full with in these directories, as in `CONFIG`.
const VOLUME_BYTES: u64 = 65_536;

/// What became of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The start was refused.
    AtStart(String),
    /// A record could not be read after a start.
    ByRead(String),
    /// The check reported it.
    ByCheck(String),
    /// Everything is as it was.
    Harmless,
    /// Something is not as it was and nobody said so.
    Silent(String),
}

/// A whole directory and what is known of it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) image: Image,
    pub(crate) secrets: Secrets,
    records: Vec<Vec<u8>>,
    report: Report,
    /// Gaps that a start puts on record, since the server was killed.
    gaps: u64,
    /// Where trials take place, as `<place>/data`.
    place: Arc<TempDir>,
}

impl Subject {
    /// What lies whole in `<place>/data`.
    pub(crate) fn new(name: &'static str, place: TempDir, secrets: Secrets, gaps: u64) -> Subject {
        let data = place.path().join("data");
        let report = checked(&data);
        assert!(report.findings.is_empty(), "{name}: {:?}", report.findings);
        let image = Image::of(&data);
        let records = records(&data).expect("whole");
        image.write(&data);
        Subject { name, image, secrets, records, report, gaps, place: Arc::new(place) }
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.place.path().join("data")
    }

    /// Checks the directory as it lies there now, offline.
    pub(crate) fn check(&self) -> Outcome {
        self.check_after(0)
    }

    /// As [`Subject::check`], after a start that put so many uses and gaps on record.
    fn check_after(&self, more: u64) -> Outcome {
        let report = checked(&self.data());
        match found(&report) {
            Some(found) => Outcome::ByCheck(found),
            None if self.is_as_before(&report, more) => Outcome::Harmless,
            None => Outcome::Silent(format!("{report:?}")),
        }
    }

    /// Starts a server on the directory, asks it, reads every record, then checks. Leaves the directory
    /// changed.
    pub(crate) async fn start_read_check(&self) -> Outcome {
        // No earlier than the records: a clock that was set back goes on record.
        let clock = Arc::new(ManualClock::new(SystemClock::new().wall()));
        let builder = TestServer::builder().dir(&self.place).config(CONFIG).clock(&clock);
        let server = match builder.try_start().await {
            Ok(server) => server,
            Err(error) => return Outcome::AtStart(error.to_string()),
        };
        let answers = self.ask(&server).await;
        server.stop().await;
        let more = match records(&self.data()) {
            Err(error) => return Outcome::ByRead(error),
            Ok(records) => match self.uses_behind(&records) {
                None => return Outcome::Silent("other records".to_owned()),
                Some((_, gaps)) if gaps > self.gaps => {
                    let gap = "a gap in what usage/ held is on record".to_owned();
                    return Outcome::ByRead(gap);
                }
                Some((more, _)) => more,
            },
        };
        match self.check_after(more) {
            Outcome::Harmless if answers.is_some() => {
                Outcome::Silent(answers.expect("just looked"))
            }
            outcome => outcome,
        }
    }

    /// What of the answers is not as it should be.
    async fn ask(&self, server: &TestServer) -> Option<String> {
        let client = server.anonymous().await;
        for (secret, works) in &self.secrets {
            let request = v1::WhoAmIRequest {};
            let mut request = tonic::Request::new(request);
            let value = format!("Bearer {secret}").parse().expect("ascii");
            request.metadata_mut().insert("authorization", value);
            let answer = client.keys.clone().who_am_i(request).await;
            if answer.is_ok() != *works {
                return Some(format!("a key that works: {works}, answered {answer:?}"));
            }
        }
        None
    }

    /// How many records of uses these are more than before, and how many gaps are among them; if they are
    /// the same but for those.
    fn uses_behind(&self, records: &[Vec<u8>]) -> Option<(u64, u64)> {
        let (before, behind) = records.split_at_checked(self.records.len())?;
        let kinds: Option<Vec<EventKind>> = behind
            .iter()
            .map(|bytes| record::decode(bytes).map(|fact| fact.event.kind()).ok())
            .collect();
        let kinds = kinds.filter(|_| before == self.records)?;
        let of_uses = [EventKind::KeyUsed, EventKind::UnknownKeyTried, EventKind::UsageGap];
        let gaps = kinds.iter().filter(|kind| **kind == EventKind::UsageGap).count();
        let only_uses = kinds.iter().all(|kind| of_uses.contains(kind));
        only_uses.then_some((kinds.len() as u64, gaps as u64))
    }

    /// Whether a check found what it found before, and `more` records of uses.
    fn is_as_before(&self, report: &Report, more: u64) -> bool {
        let counts = |report: &Report| (report.accounts, report.keys, report.callers);
        let whole = |report: &Report| (report.head, report.root, report.opened);
        counts(report) == counts(&self.report)
            && report.records == self.report.records + more
            && (more > 0 || whole(report) == whole(&self.report))
    }
}

fn checked(data: &Path) -> Report {
    let scratch = crate::made::home();
    let prefix = KeyPrefix::default();
    let keys = KeySettings::default();
    let settings =
        Settings { data_dir: data, prefix: &prefix, keys: &keys, scratch: scratch.path() };
    check::check(settings, &SystemRandom, &Silent).expect("can be checked")
}

/// What a report tells, if anything; each finding has a place.
fn found(report: &Report) -> Option<String> {
    assert!(report.findings.iter().all(|finding| !finding.place.is_empty()), "{report:?}");
    let told: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let position = finding.position.map_or(0, Position::get);
            format!("{} {position}: {}", finding.place, finding.what)
        })
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Every record, through the library's reader.
fn records(data: &Path) -> Result<Vec<Vec<u8>>, String> {
    let ledger = VolumeLedger::open(&data.join("ledger"), VOLUME_BYTES);
    let ledger = ledger.map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    for frame in ledger.reader().frames_from(Position::FIRST) {
        let frame = frame.map_err(|error| error.to_string())?;
        records.extend(frame.records().map(|(_, bytes)| bytes.to_vec()));
    }
    ledger.close().map_err(|error| error.to_string())?;
    Ok(records)
}

/// How many trials came out how.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) trials: usize,
    counts: BTreeMap<&'static str, usize>,
    silent: Vec<String>,
    unclear: Vec<String>,
}

impl Tally {
    /// Counts the outcome of `what` happening to the file `name`.
    pub(crate) fn count(&mut self, name: &Path, what: &str, outcome: &Outcome) {
        self.trials += 1;
        let (class, text) = match outcome {
            Outcome::AtStart(text) => ("found at start", text.as_str()),
            Outcome::ByRead(text) => ("found by read", text.as_str()),
            Outcome::ByCheck(text) => ("found by check", text.as_str()),
            Outcome::Harmless => ("harmless", ""),
            Outcome::Silent(text) => ("silent", text.as_str()),
        };
        *self.counts.entry(class).or_default() += 1;
        let told = format!("{} {what}: {class}: {text}", name.display());
        if std::env::var_os("KEYLEDGER_DAMAGE_VERBOSE").is_some() {
            tell(&told);
        }
        match outcome {
            Outcome::Silent(_) => self.silent.push(told),
            Outcome::Harmless => {}
            _ if !says_where(text) => self.unclear.push(told),
            _ => {}
        }
    }

    /// That nothing was silent, and that what was told says where.
    pub(crate) fn assert_nothing_silent(&self) {
        assert!(self.silent.is_empty(), "{}", self.silent.join("\n"));
        assert!(self.unclear.is_empty(), "{}", self.unclear.join("\n"));
    }
}

/// Prints a line for who runs the test.
#[expect(clippy::print_stdout, reason = "what was tried is told to who runs the test")]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

/// Whether a text names a position, a volume or a file.
fn says_where(text: &str) -> bool {
    let names = [
        "position",
        "volume-",
        "sealed volume",
        "live-",
        "FORMAT",
        "snapshots/",
        "the snapshot at position",
        "anchor",
        "pepper",
        "kek-",
        "key-encryption key",
        "signing-",
        "datakeys",
        "data key file",
        "admin.credential",
        "the ledger is missing",
        "the ledger was not made by this program",
        "keys/",
        "usage journal",
        "usage/",
    ];
    names.iter().any(|name| text.contains(name))
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.iter().map(|(class, count)| format!("{class} {count}"));
        write!(f, "{}; silent {}", counts.collect::<Vec<_>>().join(", "), self.silent.len())
    }
}
