//! One group of commands being decided: each sees what those before it will have done.

use crate::domain::apply::apply;
use crate::domain::command::{Decision, decide};
use crate::domain::event::{Actor, Event, Mechanism, Proposal, Recorded};
use crate::domain::facts::Facts;
use crate::domain::ids::{EventId, Position, TraceId};
use crate::domain::overlay::Overlay;
use crate::domain::refusal::Refusal;
use crate::domain::requests::Request;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::durable::fail_stop;
use crate::ledger::frame::FrameBuilder;
use crate::ledger::lanes::GROUP_BOUND;
use crate::ledger::record;
use crate::random::{self, Random};

use super::{Done, Entry, PendingAnswer};

/// Why something is recorded.
struct Cause {
    actor: Actor,
    trace_id: Option<TraceId>,
    request: Option<Request>,
}

/// A group of commands, its records and its answers so far.
pub(super) struct Group<'a, F> {
    overlay: Overlay<'a, F>,
    builder: FrameBuilder,
    next: Position,
    now: Time,
    random: &'a dyn Random,
    facts: Vec<Recorded>,
    answers: Vec<PendingAnswer>,
    /// Whether what it does reaches beyond what the overlay shows: nothing more is decided on it.
    closed: bool,
}

impl<'a, F: Facts> Group<'a, F> {
    /// An empty group whose first record takes the position `next`.
    pub(super) fn new(
        base: &'a F,
        builder: FrameBuilder,
        next: Position,
        now: Time,
        random: &'a dyn Random,
    ) -> Self {
        let overlay = Overlay::new(base);
        let (facts, answers) = (Vec::new(), Vec::new());
        Group { overlay, builder, next, now, random, facts, answers, closed: false }
    }

    /// Whether the group takes no more commands.
    pub(super) fn is_full(&self) -> bool {
        self.closed || self.answers.len() >= GROUP_BOUND
    }

    /// How many commands the group has, and how many bytes the frame in the making.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.answers.len(), self.builder.length())
    }

    /// Puts a step of the wall clock on record.
    pub(super) fn add_step(&mut self, step: Event) {
        let actor = Actor { caller: None, mechanism: Mechanism::Service };
        let proposal = Proposal { subject: Subject::Service, event: step, private: None };
        let cause = Cause { actor, trace_id: None, request: None };
        let records = self.record(&cause, vec![proposal]);
        self.keep(records);
    }

    /// Decides a command. Gives it back if its records do not fit what is left of the frame.
    pub(super) fn admit(&mut self, entry: Entry) -> Option<Entry> {
        let answer = match decide(&self.overlay, &entry.command, self.now) {
            Err(refusal) => Err(refusal),
            Ok(Decision::Repeat(found)) => Ok(Done {
                position: Some(found.position),
                subject: Some(found.subject),
                replayed: true,
            }),
            Ok(Decision::Events(proposals)) => {
                let command = &entry.command;
                let (actor, trace_id, request) = (command.actor, command.trace_id, command.request);
                let records = self.record(&Cause { actor, trace_id, request }, proposals);
                let lengths: Vec<usize> = records.iter().map(|(_, bytes)| bytes.len()).collect();
                if !self.builder.fits(&lengths) {
                    if !self.facts.is_empty() {
                        return Some(entry);
                    }
                    self.answers.push((entry.answer, Err(Refusal::TooLarge)));
                    return None;
                }
                let last = records.last().map(|(fact, _)| (fact.position, fact.subject.clone()));
                self.keep(records);
                let (position, subject) = last.unzip();
                Ok(Done { position, subject, replayed: false })
            }
        };
        self.answers.push((entry.answer, answer));
        None
    }

    /// The frame in the making, its events, and the answers to give once it is durable.
    pub(super) fn into_parts(self) -> (FrameBuilder, Vec<Recorded>, Vec<PendingAnswer>) {
        (self.builder, self.facts, self.answers)
    }

    fn record(&self, cause: &Cause, proposals: Vec<Proposal>) -> Vec<(Recorded, Vec<u8>)> {
        let mut position = self.next;
        let mut records: Vec<(Recorded, Vec<u8>)> = Vec::with_capacity(proposals.len());
        for Proposal { subject, event, private } in proposals {
            let same = records.iter().rev().find(|(before, _)| before.subject == subject);
            let previous = same.map(|(before, _)| before.position);
            let fresh = || EventId(random::bytes(self.random));
            let fact = Recorded {
                position,
                event_id: private.as_ref().map_or_else(fresh, |private| private.event_id),
                time: self.now,
                previous: previous.or_else(|| self.overlay.last_record(&subject)),
                actor: cause.actor,
                trace_id: cause.trace_id,
                request: cause.request,
                subject,
                event,
                private,
            };
            let bytes = record::encode(&fact);
            records.push((fact, bytes));
            position = position.next();
        }
        records
    }

    fn keep(&mut self, records: Vec<(Recorded, Vec<u8>)>) {
        for (fact, bytes) in records {
            if let Err(error) = apply(&mut self.overlay, &fact) {
                fail_stop("a decided event does not follow from the facts", &error);
            }
            self.builder.push(&bytes);
            self.next = fact.position.next();
            self.closed |= matches!(fact.event, Event::PepperRetired { .. });
            self.facts.push(fact);
        }
    }
}
