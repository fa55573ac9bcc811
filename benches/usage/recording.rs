//! Authenticate while uses are recorded, each way, next to the same server with a recorder that takes
//! nothing, and next to an RPC that does nothing.
//!
//! Settings: rounds (11), milliseconds (1000), keys (1000), in_flight (1, 64 and 512). Many short rounds, so that
//! what else the machine does falls on all alike.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyledger::clock::{Clock, SystemClock};
use keyledger::config::Durability;
use tokio::runtime::Runtime;

use super::calls::{self, Measured, Server, Until, question};
use super::house::{House, Nothing, PLAN, Uses};
use super::settings::Settings;
use super::{home, median, quantile, say, spread};

const IN_FLIGHT: [usize; 3] = [1, 64, 512];
const KEYS_AN_ACCOUNT: usize = 10;

const BOUNDED: usize = 0;
const BEFORE_REPLY: usize = 1;
const NULL: usize = 2;
const EMPTY: usize = 3;
const NAMES: [&str; 4] = ["bounded", "before_reply", "null recorder", "empty RPC"];

/// Something to ask.
struct Variant {
    server: Server,
    secrets: Arc<Vec<String>>,
}

/// What a variant did, a value a round.
#[derive(Default)]
struct Row {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
    recorder: Vec<f64>,
}

impl Row {
    fn add(&mut self, measured: &Measured) {
        self.rate.push(measured.rate);
        self.p50.push(quantile(&measured.latencies, 0.5));
        self.p99.push(quantile(&measured.latencies, 0.99));
        self.cpu.push(measured.cpu.server.as_secs_f64() * 1e6);
        self.recorder.push(measured.cpu.recorder.as_secs_f64() * 1e6);
    }
}

pub(crate) fn run(settings: &Settings) -> bool {
    let home = home();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ways = [
        Uses::Recorded(Durability::Bounded),
        Uses::Recorded(Durability::BeforeReply),
        Uses::NotRecorded,
    ];
    let data_dirs: [PathBuf; 3] = [0, 1, 2].map(|n| home.path().join(format!("{n}")));
    let houses = [0, 1, 2].map(|n| House::open(&data_dirs[n], ways[n], &clock));
    let empty = Nothing::beside(&houses[NULL]);
    let clients = calls::threads();
    let keys = settings.count("keys", 1000);
    let mut variants = Vec::new();
    for (house, data_dir) in houses.iter().zip(&data_dirs) {
        let server = Server::new(&house.address, data_dir);
        let accounts = keys.div_ceil(KEYS_AN_ACCOUNT);
        let made = clients.block_on(server.make_keys(("bench", PLAN), accounts, keys));
        let secrets = Arc::new(made.into_iter().map(|(_, secret)| secret).collect());
        variants.push(Variant { server, secrets });
    }
    let Variant { server, secrets } = &variants[NULL];
    variants.push(Variant { server: server.at(&empty.address), secrets: Arc::clone(secrets) });
    let (rounds, span) = (
        settings.count("rounds", 11),
        Duration::from_millis(settings.number("milliseconds", 1000)),
    );
    let in_flight = settings.given("in_flight").map(|_| settings.count("in_flight", 0));
    for in_flight in in_flight.map_or(IN_FLIGHT.to_vec(), |one| vec![one]) {
        let mut rows: [Row; 4] = Default::default();
        let mut flush = Vec::new();
        let until = Until::Passed(span);
        // The first round is not counted.
        for round in 0..=rounds {
            for turn in 0..variants.len() {
                let which = (round + turn) % variants.len();
                let measured = measure(&clients, &variants[which], in_flight, until);
                if round > 0 {
                    rows[which].add(&measured);
                }
                if round > 0 && which == BEFORE_REPLY {
                    flush.push(houses[which].uses().recorder.last_flush.as_secs_f64() * 1e3);
                }
            }
        }
        report(in_flight, &rows, &flush);
    }
    empty.close();
    houses.into_iter().for_each(House::close);
    true
}

fn measure(clients: &Runtime, variant: &Variant, in_flight: usize, until: Until) -> Measured {
    let secrets = Arc::clone(&variant.secrets);
    let ask = move |n: usize| question(&secrets[n % secrets.len()]);
    let note = |_, answer: Result<keyledger::proto::v1::AuthenticateResponse, _>| {
        assert_eq!(answer.expect("answered").denial_reason, 0, "every key is allowed");
    };
    clients.block_on(calls::load(&variant.server, in_flight, (0, until), ask, note))
}

fn report(in_flight: usize, rows: &[Row; 4], flush: &[f64]) {
    say(&format!(
        "{in_flight} in flight    calls/s     p50 µs     p99 µs   server's CPU, µs a call   of it the recorder's"
    ));
    for (name, row) in NAMES.iter().zip(rows) {
        let [rate, p50, p99] = [&row.rate, &row.p50, &row.p99].map(|values| median(values));
        let (cpu, recorder) = (median(&row.cpu), median(&row.recorder));
        say(&format!(
            "  {name:<14} {rate:>9.0} {p50:>10.0} {p99:>10.0} {cpu:>10.1} {recorder:>30.2}"
        ));
    }
    let pairs = [(BOUNDED, NULL), (BEFORE_REPLY, NULL), (NULL, EMPTY), (BOUNDED, EMPTY)];
    for (one, other) in pairs {
        let (one_row, other_row) = (&rows[one], &rows[other]);
        say(&format!(
            "  {} / {}: throughput {}, p50 {}, p99 {}, CPU {}",
            NAMES[one],
            NAMES[other],
            ratio(&one_row.rate, &other_row.rate),
            ratio(&one_row.p50, &other_row.p50),
            ratio(&one_row.p99, &other_row.p99),
            ratio(&one_row.cpu, &other_row.cpu),
        ));
    }
    let later = rows[BEFORE_REPLY].p99.iter().zip(&rows[BOUNDED].p99);
    let later: Vec<f64> = later.map(|(one, other)| (one - other) / 1e3).collect();
    say(&format!(
        "  p99 of before_reply less that of bounded: {} ms; the last flush of a turn took {} ms",
        spread(&later),
        spread(flush)
    ));
}

/// Of each round, then the median.
fn ratio(one: &[f64], other: &[f64]) -> String {
    let ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| one / other).collect();
    spread(&ratios)
}
