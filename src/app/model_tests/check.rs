//! One step in the service, and that it is then what the model says.

use super::model::{Model, Verdict, WORDS};
use super::orders::subject_of;
use super::orders::{
    account_ref, caller_id, command_of, key_id, position, seconds, status_of, told,
};
use super::script::Step;
use super::world::World;
use crate::clock::Clock;
use crate::domain::facts::Facts;
use crate::domain::ids::{PepperVersion, Position};
use crate::domain::testing::at;
use crate::domain::verdict::{Ask, judge};
use crate::ledger::conformance::Bench;
use crate::ledger::writer::Answer;

/// Lets the step happen in the service; `model` is as it must be afterwards. Answers what there was to
/// see of it.
pub(super) fn play<B: Bench>(world: &mut World<B>, step: &Step, model: &Model) -> String {
    let commands = || model.orders.iter().map(|(order, _)| command_of(order)).collect();
    let mut answers = Vec::new();
    match step {
        Step::Group(_) => answers = world.ask(commands()),
        Step::Crash { kept, .. } => answers = world.cut_power(commands(), *kept),
        Step::Restart => world.restart(),
        Step::Wait(seconds) => {
            world.clock().advance(std::time::Duration::from_secs(seconds.unsigned_abs()));
        }
        Step::SetWall(_) => world.clock().step_wall_to(at(model.wall)),
        Step::Present { key, .. } => {
            if let (Some(key), Some((word, expected))) = (model.picked_key(*key), &model.presented)
            {
                let verdict = verdict(world, key, WORDS[*word]);
                assert_eq!(verdict, *expected, "key {key} presented for {:?}", WORDS[*word]);
                if matches!(verdict, Some(("Expired" | "Superseded", _))) {
                    world.table().witness(world.table().judge_time(world.clock().wall()));
                }
            }
        }
    }
    check_answers(&answers, model);
    let from = match step {
        Step::Crash { .. } | Step::Restart => 0,
        _ => model.log_before,
    };
    world.read_on();
    check_log(world, model, from);
    check_table(world, model);
    format!("{:?} {:?}", answers, world.facts.last())
}

/// Begins as the model does, with what the service puts on record itself.
pub(super) fn begin<B: Bench>(world: &mut World<B>, model: &Model) -> String {
    let answers = world.ask(model.orders.iter().map(|(order, _)| command_of(order)).collect());
    check_answers(&answers, model);
    world.read_on();
    check_log(world, model, 0);
    check_table(world, model);
    format!("{:?} {:?}", answers, world.facts.last())
}

/// What the service answers about a key whose secret has matched, as `authenticate` asks for it.
fn verdict<B: Bench>(world: &World<B>, key: usize, words: &[&str]) -> Verdict {
    let required: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let ask = Ask { tenant: None, required: &required, source: None };
    let now = world.table().judge_time(world.clock().wall());
    let judged = world.table().with_row(&key_id(key), |row| {
        let standing = row.account.standing();
        judge(&row.key, &standing.account, &standing.effective, &ask, now)
    });
    let denied = judged.expect("the key is there").err()?;
    let name =
        ["Revoked", "Superseded", "Expired", "Disabled", "AccountInactive", "PermissionMissing"]
            .into_iter()
            .find(|name| *name == format!("{:?}", denied.denial));
    Some((name.unwrap_or("another reason"), denied.evidence.map(Position::get)))
}

fn check_answers(answers: &[Answer], model: &Model) {
    let told: Vec<_> = answers.iter().map(told).collect();
    let expected: Vec<_> = model.orders.iter().map(|(_, answer)| answer.clone()).collect();
    if told != expected {
        for ((order, expected), told) in model.orders.iter().zip(&told) {
            assert_eq!(told, expected, "{order:?}");
        }
    }
    assert_eq!(told.len(), expected.len());
    for (answer, place) in answers.iter().zip(&told) {
        let (Ok(done), Ok((Some(place), _))) = (answer, place) else { continue };
        let about = model.log.get(usize::try_from(place - 1).expect("small")).map(|it| it.about);
        // A frame that was lost is in no log.
        if let Some(about) = about
            && model.log.len() > model.log_before
        {
            assert_eq!(done.subject, Some(subject_of(about, |key| model.keys[&key].account)));
        }
    }
}

/// That the log holds what the model's does and nothing else: gapless, in the order of time, each
/// record chained to the one before it of its subject.
fn check_log<B: Bench>(world: &World<B>, model: &Model, from: usize) {
    let facts = &world.facts;
    assert_eq!(facts.len(), model.log.len(), "records in the log");
    assert_eq!(world.table().head(), Position::new(facts.len() as u64));
    let beyond = position(facts.len() as u64 + 1);
    assert!(world.reader().frame_at(beyond).expect("readable").is_none());
    for (n, (fact, entry)) in facts.iter().zip(&model.log).enumerate().skip(from) {
        assert_eq!(fact.position.get(), n as u64 + 1);
        assert_eq!(format!("{:?}", fact.event.kind()), entry.kind, "position {}", n + 1);
        assert_eq!(seconds(fact.time), entry.time, "time of position {}", n + 1);
        assert!(n == 0 || facts[n - 1].time <= fact.time, "time ran back at {}", n + 1);
        assert_eq!(fact.previous.map(Position::get), entry.previous, "chain of {}", n + 1);
        assert_eq!(fact.actor.caller, entry.by.map(caller_id));
        assert_eq!(fact.request.map(|it| (it.id[0], it.digest[0])), entry.request);
        let subject = subject_of(entry.about, |key| model.keys[&key].account);
        assert_eq!(fact.subject, subject);
    }
}

/// That the table is a fold of the log, and answers as the model does.
fn check_table<B: Bench>(world: &World<B>, model: &Model) {
    let (table, folded) = (world.table(), &world.folded);
    let now = table.judge_time(world.clock().wall());
    assert_eq!(now, at(model.judging_time()));
    for (id, key) in &model.keys {
        for words in WORDS {
            let verdict = verdict(world, *id, words);
            assert_eq!(verdict, model.verdict(*id, words), "key {id}, {words:?}: {key:?}");
        }
        let row = table.row(&key_id(*id)).map(|row| row.key);
        assert_eq!(row, folded.key(&key_id(*id)), "the row of key {id} is not a fold of the log");
    }
    for (id, account) in &model.accounts {
        let name = account_ref(*id);
        let live = table.standing(&name).map(|standing| standing.account.clone());
        assert_eq!(live, folded.account(&name));
        let live = live.expect("there");
        assert_eq!((live.state.status, live.erased), (status_of(account.status), account.erased));
        assert_eq!(folded.open_keys(&name, now), model.counted(*id, model.judging_time()));
    }
    assert_eq!(table.key_count(), model.keys.len());
    assert_eq!(table.account_count(), model.accounts.len());
    assert_eq!(table.callers(), folded.callers());
    assert_eq!(table.callers().len(), model.callers.len());
    for (id, caller) in &model.callers {
        let live = table.caller(&caller_id(*id)).expect("there");
        assert_eq!(
            (live.position, live.revoke_time.is_some()),
            (position(caller.place), caller.revoked)
        );
    }
    assert_eq!(table.policy(), folded.policy());
    assert_eq!(table.peppers(), folded.peppers());
    for pepper in (1..=model.pepper).map(PepperVersion) {
        let (keys, callers) = (folded.keys_on(pepper, now), table.callers_on(pepper, now));
        assert_eq!(keys + callers, model.dependents(pepper.0, model.judging_time()), "{pepper}");
    }
}
