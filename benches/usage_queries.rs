//! Questions to the usage projection: what folding a window costs, what it takes on disk, and how long a day of one
//! tenant takes for each way of telling rows apart. Talks to nobody.
//!
//! `cargo bench --bench usage_queries` folds ten million windows: 100 tenants of 1,000 keys, used in 100 minutes of one
//! day in two ways each; a quarter of an hour, about 3 GB in the directory for temporary files. Behind `--`: another
//! number of tenants, keys of each and minutes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger::domain::event::{Actor, Event, EventKind, Mechanism, Recorded};
use keyledger::domain::ids::{AccountId, AccountRef, CallerId, EventId, KeyId, Position, TenantId};
use keyledger::domain::sealed::{DataKeyId, Private};
use keyledger::domain::subject::Subject;
use keyledger::domain::time::Time;
use keyledger::domain::usage::used::{KeyUsed, UsedWindow};
use keyledger::domain::usage::window::Window;
use keyledger::domain::usage::{Tried, Use, UseOutcome};
use keyledger::ledger::record;
use keyledger::projection::usage::{
    Dimension, Granularity, Order, Range, Retention, UsageFilter, UsageQuery, UsageReader,
    UsageStore,
};
use keyledger::random::{Random, SystemRandom, bytes};
use keyledger::vault::{Scope, SealContext, Vault, commitment};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 2026-01-05T00:00:00Z.
const BASE: Time = Time::from_micros(1_767_571_200_000_000);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Keys of an account.
const KEYS_OF_AN_ACCOUNT: u64 = 10;

/// Windows folded in one transaction, as the projector does.
const BATCH: usize = 4096;

/// Times each question is asked.
const TIMES: usize = 101;

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// One key and whose it is.
struct Owner {
    key: KeyId,
    account: Arc<AccountRef>,
    data_key: DataKeyId,
}

fn owners(tenants: u64, keys: u64, vault: &Vault, random: &dyn Random) -> Vec<Owner> {
    let mut owners = Vec::new();
    for tenant in 0..tenants {
        let name = TenantId::parse(&format!("tenant-{tenant}")).expect("an id");
        for number in 0..keys {
            let account = AccountId::parse(&format!("account-{}", number / KEYS_OF_AN_ACCOUNT));
            let account = AccountRef { tenant: name.clone(), account: account.expect("an id") };
            owners.push((KeyId(bytes(random)), account));
        }
    }
    let scope = |account: &AccountRef| Scope::AccountMonth(account.clone(), BASE.month());
    let scopes = owners.iter().map(|(_, account)| scope(account)).collect::<Vec<_>>();
    vault.data_keys.ensure_all(&scopes, random).expect("data keys");
    let owner = |(key, account): (KeyId, AccountRef)| {
        let data_key = vault.data_keys.find(&scope(&account)).expect("made above");
        Owner { key, account: Arc::new(account), data_key }
    };
    owners.into_iter().map(owner).collect()
}

/// The uses of a key in a minute, in two ways: five allowed from one of three addresses, and of every tenth key one
/// that is denied.
fn window(owner: &Owner, number: u64, minute: u64) -> Window {
    let start = BASE.plus(MINUTE * u32::try_from(minute).expect("few"));
    let mut window = Window::new(start);
    let octets = (number / KEYS_OF_AN_ACCOUNT * 3 + (number + minute) % 3).to_be_bytes();
    let source = IpAddr::V4(Ipv4Addr::new(10, octets[5], octets[6], octets[7]));
    let used = |second: u64, outcome| Use {
        tried: Tried::Key(owner.key, Arc::clone(&owner.account)),
        outcome,
        caller: Some(CallerId([u8::try_from(number % 5).expect("small"); 12])),
        action: if second < 3 { "read" } else { "write" }.to_owned(),
        source: Some(source),
        agent: "client/1.0".to_owned(),
        trace_id: None,
        required: Vec::new(),
        position: Some(Position::FIRST),
        time: start.plus(Duration::from_secs(second * 7)),
        cost: 1,
        alone: false,
    };
    (0..5).for_each(|second| window.add(&used(second, UseOutcome::Allowed), second + 1));
    if number.is_multiple_of(10) {
        window.add(&used(6, UseOutcome::RateLimited), 1);
    }
    window
}

/// The record of a window as the log has it.
fn recorded(
    vault: &Vault,
    random: &dyn Random,
    owner: &Owner,
    window: &Window,
    position: u64,
) -> Recorded {
    let (used, personal) = UsedWindow::of(window, MINUTE);
    let event_id = EventId(bytes(random));
    let context = SealContext {
        tenant: Some(&owner.account.tenant),
        account: Some(&owner.account.account),
        kind: EventKind::KeyUsed as u32,
        event_id,
    };
    let clear = record::encode_personal(&personal, bytes(random));
    let sealed = vault.data_keys.seal(owner.data_key, &context, &clear, random).expect("sealed");
    let used = KeyUsed { journal: 1, part: 0, window: used, total_allowed: 0, total_denied: 0 };
    Recorded {
        position: Position::new(position).expect("from 1"),
        event_id,
        time: BASE,
        previous: None,
        actor: Actor { caller: None, mechanism: Mechanism::Service },
        trace_id: None,
        request: None,
        subject: Subject::Key(Arc::clone(&owner.account), owner.key),
        event: Event::KeyUsed(Box::new(used)),
        private: Some(Private { event_id, sealed, commitment: commitment(&clear) }),
    }
}

fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

fn ask(reader: &UsageReader, what: &str, tenants: u64, question: impl Fn(TenantId) -> UsageQuery) {
    let mut took = Vec::new();
    let mut rows = 0;
    for time in 0..TIMES as u64 {
        // Another tenant each time.
        let tenant = TenantId::parse(&format!("tenant-{}", time * 37 % tenants)).expect("an id");
        let question = question(tenant);
        let began = now();
        rows = reader.query(&question).expect("an answer").value.rows.len();
        took.push(began.elapsed());
    }
    took.sort();
    let (p50, p99, most) = (quantile(&took, 50), quantile(&took, 99), quantile(&took, 100));
    say(&format!("{what:<44} p50 {p50:7.2} ms  p99 {p99:7.2} ms  max {most:7.2} ms  {rows} rows"));
}

fn ask_all(reader: &UsageReader, tenants: u64) {
    use Dimension::{Account, Action, Caller, Key, Reason, Source, Tenant};
    let aligned = Range { from: BASE, until: BASE.plus(DAY) };
    // The same uses, in a day that begins and ends within hours that have some.
    let ragged = Range { from: BASE.plus(MINUTE * 7), until: BASE.plus(DAY + MINUTE * 7) };
    let question = |range, group_by: &[Dimension], order: Order, granularity| {
        let group_by = group_by.to_vec();
        move |tenant| UsageQuery {
            range,
            granularity,
            filter: UsageFilter { tenants: Some(vec![tenant]), ..UsageFilter::default() },
            group_by: group_by.clone(),
            order: order.clone(),
        }
    };
    let page = || Order::Page { after: None, size: 1000 };
    for (name, range) in [("a day of UTC", aligned), ("24 hours from 00:07", ragged)] {
        for by in [Tenant, Account, Key, Caller, Action, Source, Reason] {
            let what = format!("{name}, by {by:?}, a page");
            ask(reader, &what, tenants, question(range, &[by], page(), None));
        }
        let what = format!("{name}, by Key, top 10");
        ask(reader, &what, tenants, question(range, &[Key], Order::Top(10), None));
        let what = format!("{name}, by Caller, Action, Source");
        ask(reader, &what, tenants, question(range, &[Caller, Action, Source], page(), None));
    }
    let hours = Some(Granularity::Hour);
    ask(
        reader,
        "a day of UTC, by hour and Caller",
        tenants,
        question(aligned, &[Caller], page(), hours),
    );
    let minutes = Some(Granularity::Minute);
    ask(
        reader,
        "a day of UTC, by minute and Reason",
        tenants,
        question(aligned, &[Reason], page(), minutes),
    );
}

fn main() {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    let [tenants, keys, minutes] = numbers.try_into().unwrap_or([100, 1_000, 100]);
    let place = tempfile::tempdir().expect("a directory");
    let (key_dir, data_keys) = (place.path().join("keys"), place.path().join("datakeys"));
    let random = SystemRandom;
    Vault::create_missing(&key_dir, &data_keys, &random).expect("keys");
    let vault = Arc::new(Vault::open(&key_dir, &data_keys).expect("keys"));
    let owners = owners(tenants, keys, &vault, &random);
    let keep = Retention { minutes: DAY * 7, hours: DAY * 90, days: DAY * 1100 };
    let dir = place.path().join("projections");
    let mut store = UsageStore::open(&dir, Arc::clone(&vault), keep).expect("a projection");

    let (mut spent, mut position, mut batch) = (Duration::ZERO, 0, Vec::with_capacity(BATCH));
    let windows = tenants * keys * minutes;
    for minute in 0..minutes {
        for (number, owner) in (0..).zip(&owners) {
            position += 1;
            let window = window(owner, number, minute);
            batch.push(recorded(&vault, &random, owner, &window, position));
            if batch.len() == BATCH || position == windows {
                let began = now();
                store.fold(&batch).expect("folded");
                spent += began.elapsed();
                batch.clear();
            }
        }
        if (minute + 1).is_multiple_of(10) {
            let each = spent.as_secs_f64() * 1e6 / position as f64;
            say(&format!("{position} windows folded, {each:.1} µs each"));
        }
    }
    let (each, reader) = (spent.as_secs_f64() * 1e6 / windows as f64, store.reader());
    let share = each * 100_000.0 / 60e6 * 100.0;
    say(&format!(
        "{windows} windows: {each:.1} µs a window; 100,000 a minute take {share:.1} % of a core"
    ));
    let disk = reader.bytes() as f64 / windows as f64;
    say(&format!("{disk:.0} bytes a window on disk"));
    ask_all(&reader, tenants);
}
