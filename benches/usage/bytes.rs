//! Bytes that uses take: in the log for good, and in journals on the way there. The clock is moved, so that the
//! uses of many minutes are made in one; they are the real server's through real calls.
//!
//! Settings: uses (1,000,000), minutes (10), keys (1000), in_flight (64).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyledger::clock::{Clock, ManualClock};
use keyledger::config::Durability;
use keyledger::domain::time::Time;
use keyledger::proto::v1;

use super::calls::{self, GRANTED, Server, Until, question};
use super::house::{House, PLAN, Uses};
use super::on_record::OnRecord;
use super::settings::Settings;
use super::{home, say};

/// 2026-01-01T00:00:00Z.
const START: Time = Time::from_micros(1_767_225_600_000_000);
const KEYS_AN_ACCOUNT: usize = 10;
/// Moves of the clock in a minute.
const STEPS: usize = 6;

/// How uses differ from each other.
#[derive(Clone, Copy)]
enum Mix {
    /// One action and source, all allowed.
    Plain,
    /// 4 sources, 3 actions, one in 20 denied for a permission, agents of 70 bytes.
    Mixed,
}

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

impl Mix {
    fn question(self, secret: &str, n: usize) -> v1::AuthenticateRequest {
        let plain = question(secret);
        let Mix::Mixed = self else { return plain };
        let permission = if n.is_multiple_of(20) { "reports:write" } else { GRANTED };
        let context = v1::AuthenticateContext {
            action: ["reports.read", "reports.list", "exports.read"][n / 7 % 3].to_owned(),
            source_ip: format!("198.51.100.{}", n / 11 % 4),
            user_agent: AGENT.to_owned(),
        };
        v1::AuthenticateRequest {
            required_permissions: vec![permission.to_owned()],
            context: Some(context),
            ..plain
        }
    }
}

pub(crate) fn run(settings: &Settings) -> bool {
    let uses = settings.count("uses", 1_000_000);
    let (minutes, keys) = (settings.count("minutes", 10), settings.count("keys", 1000));
    say(&format!("{uses} uses of {keys} keys in {minutes} minutes"));
    let mut right = true;
    for (what, mix, durability) in [
        ("plain, bounded", Mix::Plain, Durability::Bounded),
        ("plain, before_reply", Mix::Plain, Durability::BeforeReply),
        ("mixed, bounded", Mix::Mixed, Durability::Bounded),
    ] {
        let home = home();
        let data_dir = home.path().join("data");
        let journaled = make(&data_dir, settings, mix, durability);
        let found = OnRecord::of(&data_dir);
        let millions = uses as f64 / 1e6;
        let per = |bytes: u64| bytes as f64 / 1e6 / millions;
        say(&format!(
            "  {what}: {:.2} MB of frames in the log a million uses: {} records of {:.0} bytes on average; {:.0} MB of journals, removed once these are on record",
            per(found.frame_bytes),
            found.records,
            found.record_bytes as f64 / found.records as f64,
            per(journaled),
        ));
        let on_record: u64 = found.keys.values().flat_map(|counts| counts.values()).sum();
        if on_record != uses as u64 {
            say(&format!("  WRONG: {on_record} uses are on record"));
            right = false;
        }
    }
    right
}

/// Makes the uses and stops in order, so that all are on record; answers the bytes of journals.
fn make(data_dir: &Path, settings: &Settings, mix: Mix, durability: Durability) -> u64 {
    let uses = settings.count("uses", 1_000_000);
    let (minutes, keys) = (settings.count("minutes", 10), settings.count("keys", 1000));
    let manual = Arc::new(ManualClock::new(START));
    let clock: Arc<dyn Clock> = manual.clone();
    let house = House::open(data_dir, Uses::Recorded(durability), &clock);
    let server = Server::new(&house.address, data_dir);
    let clients = calls::threads();
    let accounts = keys.div_ceil(KEYS_AN_ACCOUNT);
    let made = clients.block_on(server.make_keys(("bench", PLAN), accounts, keys));
    let secrets: Arc<Vec<String>> = Arc::new(made.into_iter().map(|(_, secret)| secret).collect());
    let steps = minutes * STEPS;
    let mut first = 0;
    for step in 1..=steps {
        let count = uses * step / steps - first;
        let secrets = Arc::clone(&secrets);
        let ask = move |n: usize| mix.question(&secrets[n % secrets.len()], n / secrets.len());
        let load = (first, Until::Asked(count));
        let in_flight = settings.count("in_flight", 64);
        let note = |_, answer: Result<_, _>| drop(answer.expect("answered"));
        clients.block_on(calls::load(&server, in_flight, load, ask, note));
        first += count;
        // A use that waits while the clock is moved would look like a disk that is behind.
        house.wait_for_uses(first);
        manual.advance(Duration::from_secs(60) / u32::try_from(STEPS).expect("few"));
    }
    let journaled = house.uses().recorder.bytes;
    house.close();
    journaled
}
