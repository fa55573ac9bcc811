//! Inputs told by hand: texts, and what stands at the end of the numbers.

use std::sync::Arc;
use std::time::Duration;

use keyledger::config::Durability;
use keyledger::domain::base62;
use keyledger::domain::ids::{AccountId, AccountRef, CallerId, KeyId, Position, TenantId, TraceId};
use keyledger::domain::key_format::{Environment, KeyPrefix, Secret, render};
use keyledger::domain::personal::{OnBehalfOf, Personal};
use keyledger::domain::time::Time;
use keyledger::domain::usage::{Tried, Use, UseOutcome};
use keyledger::ledger::record::encode_personal;
use keyledger::usage::entry::Flushed;
use keyledger::usage::journal::{Header, JournalNumber, Journals, Listed};

use super::{Seed, bad, good};
use crate::targets::entries::encoded;
use crate::targets::journals::Clear;
use crate::targets::scratch_dir;

const WALL: Time = Time::from_micros(1_767_225_600_000_000);

pub fn all() -> Vec<Seed> {
    let mut seeds = texts();
    let secret = Secret::from_bytes([0xa5; 32]);
    for environment in [Environment::Live, Environment::Test, Environment::Service] {
        let text = render(&KeyPrefix::default(), environment, &[0x5a; 12], &secret);
        seeds.push(good("keys", environment.as_str(), text.expose()));
    }
    seeds.push(good("base62", "highest", base62::encode(&[0xff; 12])));
    seeds.push(good("base62", "wide", base62::encode(&[0xfe; 32])));
    seeds.push(bad("base62", "too-high", "zzzzzz"));
    seeds.push(good("uses", "flush", encoded(&flush())));
    seeds.push(good("personal", "all", encode_personal(&personal(), [9; 32]).to_vec()));
    for (name, numbers) in [
        ("now", [WALL.as_micros(), 0, 3_600_000_000]),
        ("ends", [i64::MIN, i64::MAX, -1]),
        ("latest", [Time::MAX.as_micros(), Time::MAX.as_micros() - 1, i64::MAX]),
    ] {
        seeds.push(good("times", name, numbers.map(i64::to_be_bytes).concat()));
    }
    seeds.extend(journals());
    seeds.extend(http_requests());
    seeds
}

/// Of proxies, and of who has a key alone.
fn http_requests() -> Vec<Seed> {
    let by_proxy = "\nx-keyledger-caller: ADMIN";
    let bearer = "\nauthorization: Bearer SECRET";
    let alone = "\nx-api-key: SECRET";
    let client = "\nx-forwarded-for: 203.0.113.7, 198.51.100.1\nuser-agent: curl/8\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let route = "permission=reports:read&tenant=acme&cost=2&action=list%20reports";
    let seed = |name, text: String| good("http_requests", name, text);
    let refused = |name, text: String| bad("http_requests", name, text);
    vec![
        seed("authz", format!("GET /authz?{route}{by_proxy}{bearer}{client}")),
        seed("authz-head", format!("HEAD /authz?limit_status=403{by_proxy}{alone}")),
        seed("authz-anonymous", format!("GET /authz?anonymous=true{by_proxy}")),
        seed("who-am-i", format!("GET /whoami{alone}{client}")),
        refused("authz-no-key", format!("GET /authz{by_proxy}")),
        refused("authz-two-keys", format!("GET /authz{by_proxy}{alone}{alone}")),
        refused("authz-foreign", format!("GET /authz\nx-keyledger-caller: BOUND{bearer}")),
        refused("authz-nobody", format!("GET /authz?tenant=acme{bearer}")),
        refused("authz-setting", format!("GET /authz?permision=a{by_proxy}{bearer}")),
        refused("posted", format!("POST /authz{by_proxy}{bearer}\ncontent-length: 2\n\nhi")),
        refused("elsewhere", format!("GET /keyledger.v1.KeyService/Authenticate{bearer}")),
    ]
}

fn texts() -> Vec<Seed> {
    let sample = include_str!("../../../deploy/keyledger.toml");
    let lines = sample.lines().filter(|line| !line.starts_with("# ") && *line != "#");
    // A setting is shown behind `#`, with its default.
    let set: String =
        lines.map(|line| format!("{}\n", line.strip_prefix('#').unwrap_or(line))).collect();
    vec![
        // Some of them go only with others that the sample does not show.
        bad("config", "every-setting", set),
        good(
            "config",
            "some",
            "[usage]\ndurability = \"before_reply\"\n[plans.team]\nactive_keys = 9\n",
        ),
        bad("config", "deep", format!("a = {}", "[".repeat(3_000))),
        bad("config", "deep-tables", format!("[{}a]", "a.".repeat(3_000))),
        good("ids", "tenant", "acme.eu_1~x-Y"),
        good("ids", "key", KeyId([0xff; 12]).to_string()),
        good("ids", "caller", CallerId([1; 12]).to_string()),
        good("permissions", "some", "reports:*\nreports:read\n*\na:b:c\na:*:b\nreports"),
        good("ranges", "v4", "192.0.2.7/24\n192.0.2.9"),
        good("ranges", "v6", "2001:DB8::1/32\n2001:db8::2"),
        good("ranges", "mapped", "::ffff:192.0.2.7/120\n::ffff:192.0.2.1"),
        good("ranges", "all", "::/0\n::1"),
    ]
}

fn account() -> Arc<AccountRef> {
    let tenant = TenantId::parse("acme").expect("a tenant");
    Arc::new(AccountRef { tenant, account: AccountId::parse("billing").expect("an account") })
}

fn flush() -> Flushed {
    let used = Use {
        tried: Tried::Key(KeyId([1; 12]), account()),
        outcome: UseOutcome::from_number(1).expect("an outcome"),
        caller: Some(CallerId([2; 12])),
        action: "GET /reports".to_owned(),
        source: "203.0.113.7".parse().ok(),
        agent: "curl/8".to_owned(),
        trace_id: Some(TraceId([3; 16])),
        required: vec!["reports:read".to_owned()],
        position: Position::new(7),
        time: WALL,
        cost: 1,
        alone: false,
    };
    let other = Use { source: "2001:db8::1".parse().ok(), alone: true, ..used.clone() };
    Flushed { span: Duration::from_mins(1), uses: vec![used, other], shed: None }
}

fn personal() -> Personal {
    Personal {
        name: "ci".to_owned(),
        metadata: [("team".to_owned(), "billing".to_owned())].into(),
        allowed_cidrs: vec!["203.0.113.0/24".to_owned()],
        on_behalf_of: Some(OnBehalfOf {
            subject: "someone".to_owned(),
            ticket: "T-1".to_owned(),
            note: "a note".to_owned(),
        }),
        sources: vec!["203.0.113.7".to_owned()],
        ..Personal::default()
    }
}

/// Journals as the recorder writes them, and the roll of two; and one whose last frame has the highest number.
fn journals() -> Vec<Seed> {
    let dir = scratch_dir();
    let journals = Journals::open(dir.path(), Arc::new(Clear)).expect("an empty directory");
    let number = JournalNumber::FIRST;
    let header = Header {
        number,
        head: Position::new(7),
        created: WALL,
        durability: Durability::Bounded,
        first_of_run: true,
    };
    let mut writer = journals.create(&header).expect("made");
    writer.append(WALL, WALL, &encoded(&flush())).expect("written");
    writer.quiet(WALL).expect("written");
    let path = dir.path().join(Journals::file_name(number));
    let unfinished = std::fs::read(&path).expect("read");
    writer.append(WALL, WALL, b"more").expect("written");
    writer.rotate(WALL, WALL).expect("written");
    let whole = std::fs::read(&path).expect("read");
    let mut highest = unfinished.clone();
    let frame = 36;
    highest[frame + 24..frame + 32].fill(0xff);
    let (mut torn, mut headless) = (unfinished.clone(), whole.clone());
    torn.truncate(unfinished.len() - 9);
    headless[10] ^= 1;
    journals
        .put_roll(&[Listed::from(&header), Listed { number: number.next(), created: WALL }])
        .expect("written");
    let roll = std::fs::read(dir.path().join(Journals::ROLL)).expect("read");
    vec![
        good("journals", "whole", whole),
        good("journals", "unfinished", unfinished),
        good("journals", "torn", torn),
        bad("journals", "headless", headless),
        bad("journals", "highest-sequence", highest),
        good("rolls", "two", roll),
    ]
}
