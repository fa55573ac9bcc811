//! RevokeKey while the windows of many keys are put on record: spread over most of a minute, as they are
//! while the server runs, and as fast as they can be, as when it stops; next to nothing else going on.
//!
//! Settings: rounds (3), windows (100,000), revocations (1000; one each 10 ms). A round takes two minutes.

use std::sync::Arc;
use std::time::Duration;

use keyledger::app::uses::UseFigures;
use keyledger::clock::{Clock, ManualClock};
use keyledger::config::Durability;
use keyledger::domain::time::Time;
use keyledger::proto::v1;
use tokio::runtime::Runtime;

use super::calls::{self, Keys, Server, Until, question};
use super::house::{House, PLAN, Uses};
use super::settings::Settings;
use super::{home, now, quantile, say, spread};

/// 2026-01-01T00:00:00Z.
const START: Time = Time::from_micros(1_767_225_600_000_000);
const KEYS_AN_ACCOUNT: usize = 100;
const IN_FLIGHT: usize = 256;
/// From one revocation to the next.
const PACE: Duration = Duration::from_millis(10);
/// Fewer say nothing of the 99th of a hundred.
const ENOUGH: usize = 100;

/// Revokes keys, one at a time.
struct Revoker {
    clients: Runtime,
    server: Server,
    client: Keys,
    /// Not revoked yet.
    keys: Vec<String>,
}

impl Revoker {
    /// None if the server does not do it.
    fn revoke(&mut self) -> Option<Duration> {
        let key_id = self.keys.pop().expect("enough were made");
        let request = v1::RevokeKeyRequest { key_id, ..Default::default() };
        let asked = now();
        let answer = self.clients.block_on(self.client.revoke_key(self.server.with(request)));
        answer.is_ok().then(|| asked.elapsed())
    }

    /// Revokes at a pace, at most `most` and as long as `goes_on`; answers sorted latencies.
    fn revoke_while(&mut self, most: usize, goes_on: impl Fn() -> bool) -> Vec<Duration> {
        let mut latencies = Vec::new();
        while latencies.len() < most && goes_on() {
            let Some(took) = self.revoke() else {
                // The last windows may be on record meanwhile, and the server gone on with its stop.
                assert!(!goes_on(), "a revocation failed");
                break;
            };
            latencies.push(took);
            std::thread::sleep(PACE.saturating_sub(took));
        }
        latencies.sort_unstable();
        latencies
    }
}

/// A phase next to the idle one of its round.
#[derive(Default)]
struct Row {
    p50: Vec<f64>,
    p99: Vec<f64>,
    count: usize,
}

impl Row {
    fn add(&mut self, latencies: &[Duration], idle: &[Duration]) {
        if latencies.len() < ENOUGH {
            say("  too few revocations while windows were sealed: use more windows");
            return;
        }
        self.count += latencies.len();
        self.p50.push(quantile(latencies, 0.5) / quantile(idle, 0.5));
        self.p99.push(quantile(latencies, 0.99) / quantile(idle, 0.99));
    }

    fn say(&self, what: &str) {
        if self.p50.is_empty() {
            return;
        }
        say(&format!(
            "  while windows are sealed, {what}: p50 × {}, p99 × {}; {} revocations",
            spread(&self.p50),
            spread(&self.p99),
            self.count
        ));
    }
}

pub(crate) fn run(settings: &Settings) -> bool {
    let home = home();
    let data_dir = home.path().join("data");
    let manual = Arc::new(ManualClock::new(START));
    let clock: Arc<dyn Clock> = manual.clone();
    let (windows, most) = (settings.count("windows", 100_000), settings.count("revocations", 1000));
    let mut used: Option<Arc<Vec<String>>> = None;
    let (mut spread_out, mut hurried) = (Row::default(), Row::default());
    let (mut idle50, mut idle99, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.count("rounds", 3) {
        // Answers wait for the disk, so that no use waits when the clock is moved.
        let house = House::open(&data_dir, Uses::Recorded(Durability::BeforeReply), &clock);
        let clients = calls::threads();
        let server = Server::new(&house.address, &data_dir);
        let make = |name, accounts, count| {
            clients.block_on(server.make_keys((name, PLAN), accounts, count))
        };
        let secrets = used.get_or_insert_with(|| {
            let made = make("used", windows.div_ceil(KEYS_AN_ACCOUNT), windows);
            Arc::new(made.into_iter().map(|(_, secret)| secret).collect())
        });
        let to_revoke = make("revoked", 10, 12 * most);
        let keys = to_revoke.into_iter().map(|(id, _)| id).collect();
        let client = clients.block_on(server.keys());
        let mut revoker = Revoker { clients, server, client, keys };

        let idle = revoker.revoke_while(most, || true);
        idle50.push(quantile(&idle, 0.5));
        idle99.push(quantile(&idle, 0.99));

        use_each(&revoker, secrets);
        manual.advance(Duration::from_secs(61));
        wait_until(&house, |uses| uses.windows_waiting > 0);
        let sealing = || house.uses().windows_waiting > 0;
        let latencies = revoker.revoke_while(4 * most, sealing);
        spread_out.add(&latencies, &idle);
        wait_until(&house, |uses| uses.windows_waiting == 0);

        use_each(&revoker, secrets);
        let before = house.uses().windows_recorded;
        let (latencies, rate) = house.close_during(|figures| {
            while figures().windows_waiting == 0 {
                std::thread::yield_now();
            }
            let began = now();
            let latencies = revoker.revoke_while(6 * most, || figures().windows_waiting > 0);
            let sealed = figures().windows_recorded - before;
            (latencies, sealed as f64 / began.elapsed().as_secs_f64())
        });
        hurried.add(&latencies, &idle);
        rates.push(rate / 1e3);
        manual.advance(Duration::from_secs(61));
    }
    say(&format!(
        "RevokeKey while idle: p50 {} µs, p99 {} µs; {windows} windows",
        spread(&idle50),
        spread(&idle99)
    ));
    spread_out.say("spread");
    hurried.say("as fast as they can be");
    say(&format!("  as fast as they can be: {} thousand windows/s", spread(&rates)));
    true
}

/// Uses each key once: a window each.
fn use_each(revoker: &Revoker, secrets: &Arc<Vec<String>>) {
    let load = (0, Until::Asked(secrets.len()));
    let secrets = Arc::clone(secrets);
    let ask = move |n: usize| question(&secrets[n]);
    let note = |_, answer: Result<_, _>| drop(answer.expect("answered"));
    revoker.clients.block_on(calls::load(&revoker.server, IN_FLIGHT, load, ask, note));
}

fn wait_until(house: &House, done: impl Fn(&UseFigures) -> bool) {
    while !done(&house.uses()) {
        std::thread::sleep(Duration::from_millis(10));
    }
}
