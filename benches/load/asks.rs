//! What is asked: keys chosen as Zipf has it, 2 % of the questions denied.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use keyledger::proto::v1;
use prost::Message as _;

/// What every account grants, and what none does.
pub(crate) const GRANTED: &str = "reports:read";
const NOT_GRANTED: &str = "ledgers:close";

/// Questions that are drawn before a run, and asked from the first again when they are through.
const DRAWN: usize = 1 << 20;

/// Of a hundred questions, how many are about a revoked key, and how many about what the key may not do.
const REVOKED_IN_100: u64 = 1;
const NOT_GRANTED_IN_100: u64 = 1;

/// The first seed; the same questions in every run.
const SEED: u64 = 0x6b65_796c_6564_6765;

/// Splitmix64 (S. Vigna's): enough to draw by.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Dice(SEED)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).expect("below a usize")
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks from 0, of which the n-th comes in proportion to 1 / (n + 1).
pub(crate) struct Zipf {
    /// The sum of the weights up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    pub(crate) fn of(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Zipf { sums: sums.collect() }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let at = dice.share() * all;
        self.sums.partition_point(|sum| *sum < at).min(self.sums.len() - 1)
    }
}

/// The keys of a server, in the order of their rank, and some that are revoked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) working: Vec<String>,
    pub(crate) revoked: Vec<String>,
}

impl Secrets {
    pub(crate) fn write(&self, path: &Path) {
        let mut text = String::new();
        for (mark, secrets) in [('+', &self.working), ('-', &self.revoked)] {
            for secret in secrets {
                writeln!(text, "{mark}{secret}").expect("a string has room");
            }
        }
        std::fs::write(path, text).expect("written");
    }

    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("written");
        let marked = |mark: char| {
            let secrets = text.lines().filter_map(|line| line.strip_prefix(mark));
            secrets.map(str::to_owned).collect()
        };
        Secrets { working: marked('+'), revoked: marked('-') }
    }
}

/// A question as services ask it.
pub(crate) fn question(secret: &str, required: &str) -> v1::AuthenticateRequest {
    v1::AuthenticateRequest {
        api_key: secret.to_owned(),
        required_permissions: vec![required.to_owned()],
        context: Some(v1::AuthenticateContext {
            action: "reports.read".to_owned(),
            source_ip: "192.0.2.7".to_owned(),
            user_agent: "bench/1.0".to_owned(),
        }),
        ..Default::default()
    }
}

/// One question, encoded, and its answer.
#[derive(Clone)]
pub(crate) struct Ask {
    /// As gRPC frames a message: a byte and the length before it.
    pub(crate) framed: Bytes,
    /// The outcome that is right.
    pub(crate) outcome: u8,
}

/// Bytes before a message.
pub(crate) const FRAME: usize = 5;

impl Ask {
    fn new(secret: &str, required: &str, outcome: v1::Outcome) -> Self {
        let message = question(secret, required).encode_to_vec();
        let length = u32::try_from(message.len()).expect("short");
        let mut framed = vec![0];
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&message);
        let outcome = u8::try_from(i32::from(outcome)).expect("small");
        Ask { framed: framed.into(), outcome }
    }

    /// The message alone.
    pub(crate) fn message(&self) -> &[u8] {
        &self.framed[FRAME..]
    }
}

/// All questions of a run, in order.
pub(crate) struct Asks {
    asks: Vec<Ask>,
    /// How many of them are of a working key each, at the beginning.
    keys: usize,
    drawn: Vec<u32>,
}

impl Asks {
    pub(crate) fn of(secrets: &Secrets) -> Self {
        let (allowed, denied) = (v1::Outcome::Allowed, v1::Outcome::Denied);
        let count = secrets.working.len();
        let mut asks = Vec::with_capacity(2 * count + secrets.revoked.len());
        asks.extend(secrets.working.iter().map(|secret| Ask::new(secret, GRANTED, allowed)));
        asks.extend(secrets.working.iter().map(|secret| Ask::new(secret, NOT_GRANTED, denied)));
        asks.extend(secrets.revoked.iter().map(|secret| Ask::new(secret, GRANTED, denied)));
        let (mut dice, zipf) = (Dice::new(), Zipf::of(count));
        let mut draw = || {
            let kind = dice.roll() % 100;
            if kind < REVOKED_IN_100 && !secrets.revoked.is_empty() {
                2 * count + dice.below(secrets.revoked.len())
            } else if kind < REVOKED_IN_100 + NOT_GRANTED_IN_100 {
                count + zipf.draw(&mut dice)
            } else {
                zipf.draw(&mut dice)
            }
        };
        let drawn = (0..DRAWN).map(|_| u32::try_from(draw()).expect("fewer than 4 G"));
        let drawn = drawn.collect();
        Asks { asks, keys: count, drawn }
    }

    /// The question about the working key of that rank; none if there is no such rank.
    pub(crate) fn about(&self, rank: usize) -> Option<&Ask> {
        self.asks[..self.keys].get(rank)
    }

    /// The question of that number.
    pub(crate) fn at(&self, number: usize) -> &Ask {
        &self.asks[self.drawn[number % DRAWN] as usize]
    }
}
