//! Windows of accounts in the table: one for all keys, exact under many threads, freed when idle.

use std::thread;

use super::*;
use crate::domain::account_rules::PutAccount;
use crate::domain::apply::apply;
use crate::domain::command::Act;
use crate::domain::facts::FactsMut;
use crate::domain::policy::Policy;
use crate::domain::testing::*;
use crate::projection::key_table::KeyTable;
use crate::projection::table_writer::TableWriter;

/// The accounts `a`, `b` and `c` on the plan `tiny`: 2 requests a minute.
fn world() -> World {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.does(Act::PutAccount(PutAccount { plan: Some(plan_name("tiny")), ..put(name) }));
    }
    world
}

fn table_of(world: &World) -> TableWriter {
    let mut writer = TableWriter::default();
    for fact in &world.log {
        apply(&mut writer, fact).expect("it follows");
    }
    writer
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn charge(table: &KeyTable, name: &str, now: Duration, cost: u32, limit: u32) -> RateLimit {
    let cell = table.cell(&account(name)).expect("there");
    table.rate_windows().charge(&cell, now, cost, limit)
}

/// Whether all that was used is forgotten; asked without making a window.
fn is_unused(table: &KeyTable, name: &str, now: Duration) -> bool {
    charge(table, name, now, 0, 9) == RateLimit::unused(9)
}

#[test]
fn many_threads_are_admitted_exactly_the_limit() {
    const LIMIT: u32 = 1000;
    let table = table_of(&world()).table();
    let admitted = thread::scope(|scope| {
        let charges = || {
            let all = (0..500).map(|_| charge(&table, "a", secs(1), 1, LIMIT));
            all.filter(|left| left.retry_after.is_none()).count()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(charges)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
    });
    assert_eq!(admitted, LIMIT as usize);
    assert_eq!(table.rate_windows().refused(), 8 * 500 - u64::from(LIMIT));
    assert_eq!(table.rate_windows().count(), 1);
}

#[test]
fn accounts_are_told_apart_and_only_what_is_charged_makes_a_window() {
    let table = table_of(&world()).table();
    assert!(is_unused(&table, "a", secs(0)));
    assert_eq!(table.rate_windows().count(), 0);
    charge(&table, "a", secs(0), 2, 2);
    assert!(charge(&table, "a", secs(0), 1, 2).retry_after.is_some());
    assert!(is_unused(&table, "b", secs(0)));
    assert_eq!(charge(&table, "b", secs(0), 1, 2).remaining, 1);
    assert_eq!(table.rate_windows().count(), 2);
}

#[test]
fn the_limit_in_force_follows_the_account_and_the_policy() {
    let mut world = world();
    let mut writer = table_of(&world);
    let table = writer.table();
    let limit = || table.standing(&account("a")).expect("there").requests_per_minute;
    assert_eq!(limit(), Some(2));
    let change = PutAccount { plan: Some(plan_name("enterprise")), ..world.change("a") };
    world.does(Act::PutAccount(change));
    apply(&mut writer, world.log.last().expect("a fact")).expect("it follows");
    assert_eq!(limit(), Some(60_000));
    let mut other = policy();
    other.plans.get_mut(&plan_name("enterprise")).expect("there").requests_per_minute = Some(7);
    writer.put_policy(other);
    assert_eq!(limit(), Some(7));
    writer.put_policy(Policy::default());
    assert_eq!(limit(), None, "a plan of no policy limits nothing");
}

#[test]
fn idle_windows_are_freed_and_others_kept() {
    let table = table_of(&world()).table();
    let windows = table.rate_windows();
    charge(&table, "a", secs(0), 1, 2);
    charge(&table, "b", secs(10), 1, 2);
    charge(&table, "c", secs(0), 1, 2);
    windows.sweep(secs(60), 10);
    assert_eq!(windows.count(), 3, "all still count");
    windows.sweep(secs(61), 1);
    assert_eq!(windows.count(), 2, "one was looked at");
    windows.sweep(secs(61), 10);
    assert_eq!(windows.count(), 1);
    assert!(!is_unused(&table, "b", secs(61)));
    // One that comes again is counted again, once.
    charge(&table, "a", secs(62), 1, 2);
    charge(&table, "a", secs(62), 1, 2);
    assert_eq!(windows.count(), 2);
    windows.sweep(secs(200), 10);
    assert_eq!(windows.count(), 0);
    assert!(is_unused(&table, "a", secs(200)));
}

#[test]
fn windows_that_are_swept_while_they_are_charged_lose_nothing() {
    let table = table_of(&world()).table();
    let (windows, minutes) = (table.rate_windows(), AtomicU64::new(0));
    let now = || secs(minutes.load(Ordering::SeqCst) * 61);
    thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            while minutes.load(Ordering::SeqCst) < 3000 {
                windows.sweep(now(), 2);
            }
        });
        for minute in 1..=3000 {
            minutes.store(minute, Ordering::SeqCst);
            // Idle since just now: freed or not, each is charged anew, and keeps that.
            for name in ["a", "b", "c"] {
                assert_eq!(charge(&table, name, now(), 1, 1).retry_after, None);
            }
            for name in ["a", "b", "c"] {
                assert!(charge(&table, name, now(), 1, 1).retry_after.is_some());
            }
        }
        sweeper.join().expect("no panic");
    });
    assert_eq!(windows.count(), 3, "each is known once");
    windows.sweep(now() + secs(61), 10);
    assert_eq!(windows.count(), 0);
}

#[test]
fn what_was_used_before_a_restart_counts_on_whatever_the_clock_says() {
    let table = table_of(&world()).table();
    let now = secs(3);
    let restore =
        |name, second, cost| table.restore_cost(&account(name), at(second), at(100), now, cost);
    restore("a", 70, 1);
    restore("a", 38, 7);
    restore("b", 3600, 1);
    restore("nobody", 100, 1);
    assert_eq!(charge(&table, "a", now, 1, 2).remaining, 0);
    // 30 s ago, so gone in 31 s; of an hour to come: as now.
    assert_eq!(charge(&table, "a", secs(34), 1, 2).remaining, 0);
    assert_eq!(charge(&table, "b", secs(63), 2, 2).retry_after, Some(secs(1)));
    assert_eq!(table.rate_windows().count(), 2);
}
