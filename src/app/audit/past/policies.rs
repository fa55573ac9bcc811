//! The policy that was in force behind any position.
//!
//! Policies change seldom, and their records lie in the service's chain among many others. What was found of
//! them is kept: stretches of the log, each under one policy.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::chain::LogReader;
use crate::app::App;
use crate::app::error::AppError;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::Position;
use crate::domain::policy::Policy;
use crate::domain::subject::Subject;

/// The most stretches that are kept; each holds a policy, of some kilobytes.
const MAX_KEPT: usize = 256;

/// A policy, and the stretch of the log in which it is known to be in force.
#[derive(Clone, Debug)]
struct Stretch {
    /// The record that put it in force.
    from: Position,
    to: Position,
    policy: Arc<Policy>,
}

/// The stretches that are known.
#[derive(Debug, Default)]
pub(crate) struct Policies(Mutex<Vec<Stretch>>);

impl Policies {
    fn at(&self, position: Position) -> Option<(Position, Arc<Policy>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stretch = known.iter().find(|known| (known.from..=known.to).contains(&position))?;
        Some((stretch.from, Arc::clone(&stretch.policy)))
    }

    /// Notes that what `from` put in force was in force behind `to`.
    fn note(&self, from: Position, to: Position, policy: &Arc<Policy>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stretch) = known.iter_mut().find(|known| known.from == from) {
            stretch.to = stretch.to.max(to);
            return;
        }
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.push(Stretch { from, to, policy: Arc::clone(policy) });
    }
}

impl App {
    /// The policy in force behind `bound`, and the record that put it in force; an empty one before the
    /// first.
    pub(super) fn policy_at(
        &self,
        log: &mut LogReader<'_>,
        bound: Option<Position>,
    ) -> Result<(Option<Position>, Arc<Policy>), AppError> {
        let policies = &self.audit.policies;
        let (Some(bound), Some(newest)) = (bound, self.table.service_position()) else {
            return Ok((None, Arc::default()));
        };
        if let Some((from, policy)) = policies.at(bound) {
            return Ok((Some(from), policy));
        }
        let before = log.newest_up_to(&Subject::Service, bound, newest)?;
        let changing = |kind| kind == EventKind::PolicyChanged as u64;
        let (mut known, mut changed) = (None, None);
        log.follow_back(&Subject::Service, before, changing, |position, kind| {
            known = policies.at(position);
            changed = changing(kind).then_some(position);
            if known.is_some() || changed.is_some() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let (from, policy) = match (known, changed) {
            (Some(known), _) => known,
            (None, None) => return Ok((None, Arc::default())),
            (None, Some(position)) => match log.fact(position)?.event {
                Event::PolicyChanged(policy) => (position, Arc::new(policy)),
                _ => return Err(AppError::Damaged { position: Some(position) }),
            },
        };
        policies.note(from, bound, &policy);
        Ok((Some(from), policy))
    }
}
