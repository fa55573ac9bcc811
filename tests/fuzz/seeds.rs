//! Good inputs: what a server writes and answers, what is in the fixtures, and a few that are told by hand.

mod by_hand;
mod fixture;
mod written;

#[path = "../common/check.rs"]
mod check;

use check::check;
use keyledger::grpc::access;

use super::targets::calls::with_world;
use super::targets::messages::rpcs;
use super::targets::world::SECRET;

/// A good input, or one at an edge.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Of which target.
    pub target: &'static str,
    /// Its name among them.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
    /// Whether it must be taken.
    pub good: bool,
}

fn good(target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { target, name: name.to_owned(), bytes: bytes.into(), good: true }
}

fn bad(target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { good: false, ..good(target, name, bytes) }
}

/// All there are.
pub fn all() -> Vec<Seed> {
    let mut seeds = by_hand::all();
    seeds.extend(fixture::all());
    seeds.extend(with_world(written::all));
    seeds.extend(of_rpcs("calls"));
    seeds
}

/// A call of each RPC, if the target is the one that is fed with calls: one that was added since the corpus was
/// written is fed too.
pub fn of_rpcs(target: &str) -> Vec<Seed> {
    if target != "calls" {
        return Vec::new();
    }
    let mut seeds: Vec<_> = rpcs().iter().map(|rpc| call(&rpc.path, &rpc.request)).collect();
    // Its messages are Envoy's.
    let headers = [("authorization", &*format!("Bearer {SECRET}")), ("user-agent", "curl/8")];
    let settings = [("permission", "reports:read"), ("tenant", "acme")];
    seeds.push(call(access::CHECK, &check(&headers, &settings)));
    seeds
}

fn call(path: &str, request: &[u8]) -> Seed {
    // The key itself asks who it is.
    let how = if path == access::WHO_AM_I { 4 } else { 0 };
    let name = path.rsplit('/').next().expect("a name").to_owned();
    let bytes = [path.as_bytes(), &[b'\n', how], request].concat();
    // What a request must hold is for its handler to say: not all can be guessed.
    Seed { target: "calls", name, bytes, good: false }
}
