//! The rate window held to a list of all uses, at times and with limits of all kinds.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn second(time: Duration) -> u64 {
    time.as_secs()
}

/// All uses that were admitted: when, and at what cost.
#[derive(Default)]
struct Uses(Vec<(Duration, u64)>);

impl Uses {
    /// The costs of those that `counts`.
    fn sum(&self, counts: impl Fn(Duration) -> bool) -> u64 {
        self.0.iter().filter(|(at, _)| counts(*at)).map(|(_, cost)| cost).sum()
    }

    /// The costs of those that are less than 60 seconds old: what no limit may be under.
    fn of_a_minute(&self, now: Duration) -> u64 {
        self.sum(|at| now < at + secs(60.0))
    }

    /// The costs of those that are at most 61 seconds old: what a refusal may be for.
    fn of_a_second_more(&self, now: Duration) -> u64 {
        self.sum(|at| now < at + secs(61.0))
    }

    /// The costs of those of this second and the sixty before it.
    fn counted(&self, now: Duration) -> u64 {
        self.sum(|at| second(now) - second(at) <= 60)
    }
}

/// How long until the next use: a burst, about a second, about a minute, or long.
fn waits() -> impl Strategy<Value = Duration> {
    let about = |seconds: u64| seconds * 1_000_000 - 2_000..seconds * 1_000_000 + 2_000;
    prop_oneof![
        4 => 0..400_000_u64,
        2 => about(1),
        1 => 0..20_000_000_u64,
        1 => about(60),
        1 => about(61),
        1 => 62_000_000..100_000_000_u64,
    ]
    .prop_map(Duration::from_micros)
}

fn costs() -> impl Strategy<Value = u32> {
    prop_oneof![1 => Just(0), 6 => 1..4_u32, 2 => 1..40_u32]
}

/// Limits that stay the same for a while.
fn limits() -> impl Strategy<Value = u32> {
    prop_oneof![1..3_u32, 5..30_u32, 40..60_u32]
}

proptest! {
    #[test]
    fn no_minute_admits_more_and_none_less_but_for_a_second(
        start in 0..5_000_000_u64,
        runs in vec((limits(), vec((waits(), costs()), 1..60)), 1..5),
    ) {
        let mut now = Duration::from_micros(start);
        let mut window = RateWindow::new(now);
        let mut uses = Uses::default();
        for (limit, run) in runs {
            for (wait, cost) in run {
                now += wait;
                let cost = cost.min(limit);
                let before = (uses.of_a_minute(now), uses.of_a_second_more(now));
                let left = window.charge(now, cost, limit);
                let (wanted, bound) = (u64::from(cost), u64::from(limit));
                if left.retry_after.is_none() {
                    prop_assert!(cost == 0 || before.0 + wanted <= bound, "over the limit");
                    uses.0.push((now, wanted));
                } else {
                    prop_assert!(cost > 0 && before.1 + wanted > bound, "under the limit");
                }
                let counted = uses.counted(now);
                prop_assert_eq!(u64::from(left.remaining), bound.saturating_sub(counted));
                prop_assert_eq!((left.limit, window.charged), (limit, counted));
            }
        }
    }

    #[test]
    fn what_an_answer_promises_comes_true_to_the_microsecond(
        start in 0..5_000_000_u64,
        run in vec((waits(), costs()), 1..60),
        limit in limits(),
    ) {
        let tick = Duration::from_micros(1);
        let mut now = Duration::from_micros(start);
        let mut window = RateWindow::new(now);
        for (wait, cost) in run {
            now += wait;
            let cost = cost.min(limit);
            let left = window.charge(now, cost, limit);
            let then = |wait: Duration, cost| window.clone().charge(now + wait, cost, limit);
            prop_assert!(then(Duration::ZERO, left.remaining).retry_after.is_none());
            if left.remaining < limit {
                prop_assert!(then(Duration::ZERO, left.remaining + 1).retry_after.is_some());
                prop_assert!(then(left.reset_after - tick, limit).retry_after.is_some());
                prop_assert!(!window.clone().is_idle(now + left.reset_after - tick));
            }
            prop_assert!(then(left.reset_after, limit).retry_after.is_none());
            prop_assert!(window.clone().is_idle(now + left.reset_after));
            if let Some(wait) = left.retry_after {
                prop_assert!(then(wait, cost).retry_after.is_none());
                prop_assert!(then(wait - tick, cost).retry_after.is_some());
            }
        }
    }

    /// Uses of the two minutes before a restart, kept by the second they were in on the wall clock, and
    /// then uses of a process whose time began anywhere.
    #[test]
    fn a_restart_hands_out_no_fresh_minute_and_takes_none_away_for_long(
        limit in 5..40_u32,
        kept in vec((0..120_000_000_u64, 1..4_u32), 0..60),
        down in 0..5_000_000_u64,
        began in 0..3_000_000_u64,
        run in vec((waits(), 1..4_u32), 1..40),
    ) {
        // The wall clock runs on evenly from 0; the time of the new process is `shift` behind it.
        let restart = Duration::from_micros(120_000_000 + down);
        let mut monotonic = Duration::from_micros(began);
        let shift = restart - monotonic;
        let mut window = RateWindow::new(monotonic);
        let mut uses = Uses::default();
        for (at, cost) in kept {
            let at = Duration::from_micros(at);
            uses.0.push((at, u64::from(cost)));
            let since = restart - Duration::from_secs(second(at));
            window.restore(monotonic, since, cost);
        }
        for (wait, cost) in run {
            monotonic += wait;
            let now = monotonic + shift;
            let (wanted, bound) = (u64::from(cost), u64::from(limit));
            let at_most = uses.sum(|at| now < at + secs(62.0));
            let at_least = uses.of_a_minute(now);
            if window.charge(monotonic, cost, limit).retry_after.is_none() {
                prop_assert!(at_least + wanted <= bound, "over the limit");
                uses.0.push((now, wanted));
            } else {
                prop_assert!(at_most + wanted > bound, "under the limit");
            }
        }
    }
}

#[test]
fn a_limit_is_used_up_and_comes_back_as_its_uses_grow_old() {
    let mut window = RateWindow::new(secs(0.5));
    assert_eq!(
        window.charge(secs(0.5), 2, 3),
        RateLimit { limit: 3, remaining: 1, reset_after: secs(60.5), retry_after: None }
    );
    assert_eq!(window.charge(secs(10.0), 1, 3).reset_after, secs(61.0));
    let refused = window.charge(secs(30.0), 1, 3);
    assert_eq!((refused.remaining, refused.retry_after), (0, Some(secs(31.0))));
    assert_eq!(window.charge(secs(30.0), 3, 3).retry_after, Some(secs(41.0)));
    assert_eq!(window.charge(secs(60.999), 1, 3).retry_after, Some(secs(61.0) - secs(60.999)));
    assert_eq!(window.charge(secs(61.0), 1, 3).remaining, 1);
}

#[test]
fn a_cost_of_nothing_is_admitted_always_and_charged_nothing() {
    let mut window = RateWindow::new(secs(0.0));
    window.charge(secs(0.0), 3, 3);
    let free = window.charge(secs(1.0), 0, 3);
    assert_eq!((free.remaining, free.retry_after), (0, None));
    assert_eq!(window.charge(secs(1.0), 0, 1).retry_after, None, "even over a lower limit");
    assert!(window.is_idle(secs(61.0)), "it was charged nothing");
}

#[test]
fn another_limit_holds_at_once() {
    let mut window = RateWindow::new(secs(0.0));
    window.charge(secs(0.0), 5, 5);
    assert!(window.charge(secs(1.0), 1, 5).retry_after.is_some());
    assert_eq!(window.charge(secs(1.0), 1, 8).remaining, 2);
    let lower = window.charge(secs(2.0), 1, 4);
    assert_eq!((lower.remaining, lower.retry_after), (0, Some(secs(59.0))));
}

#[test]
fn a_thread_that_comes_late_is_charged_with_the_others() {
    let mut window = RateWindow::new(secs(0.0));
    window.charge(secs(70.2), 1, 3);
    window.charge(secs(69.9), 1, 3);
    assert_eq!(window.charge(secs(70.3), 1, 3).remaining, 0);
    assert!(!window.is_idle(secs(130.9)) && window.is_idle(secs(131.0)));
}

#[test]
fn a_kept_use_of_the_future_counts_as_now_and_one_of_long_ago_not_at_all() {
    let mut window = RateWindow::new(secs(0.5));
    window.restore(secs(0.5), Duration::ZERO, 2);
    window.restore(secs(0.5), secs(62.0), 50);
    window.restore(secs(0.5), Duration::from_secs(1 << 40), 50);
    assert_eq!(window.charge(secs(0.5), 0, 3).remaining, 1);
    assert!(!window.is_idle(secs(60.9)) && window.is_idle(secs(61.0)));
}

#[test]
fn what_is_kept_may_be_more_than_a_number_holds() {
    let mut window = RateWindow::new(secs(0.0));
    for since in [1.0, 1.0, 2.0, 3.0] {
        window.restore(secs(0.0), secs(since), u32::MAX);
    }
    let refused = window.charge(secs(0.0), 1, u32::MAX);
    assert_eq!((refused.remaining, refused.retry_after), (0, Some(secs(60.0))));
    assert!(window.is_idle(secs(60.0)));
}
