//! One call of a changing RPC: who asks, for whom, under which name; and its way to the writer.

use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::sealing::data_key;
use crate::domain::command::{Act, Command};
use crate::domain::event::Actor;
use crate::domain::ids::TraceId;
use crate::domain::personal::OnBehalfOf;
use crate::domain::refusal::Refusal;
use crate::domain::requests::{Method, Request};
use crate::ledger::lanes::Lane;
use crate::ledger::writer::Done;
use crate::telemetry::spans;
use crate::vault::Scope;

/// Counts how often a command is sealed and decided again because others changed its subject in
/// between.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: u32,
}

impl Attempts {
    /// Sixteen attempts.
    pub(crate) fn new() -> Self {
        Attempts { left: 16 }
    }

    /// What an attempt ends the call with; none if it is to be made again.
    pub(crate) fn settle<T>(&mut self, result: Result<T, AppError>) -> Option<Result<T, AppError>> {
        self.left -= 1;
        match result {
            Err(AppError::Refused(Refusal::Moved)) if self.left > 0 => None,
            Err(AppError::Refused(Refusal::Moved)) => Some(Err(AppError::Contention)),
            other => Some(other),
        }
    }
}

/// A call's own name, and what tells a repeat of it from another request.
#[derive(Clone, Debug)]
pub struct NamedRequest {
    /// The id the caller chose.
    pub id: [u8; 16],
    /// The request without its id and without secrets, encoded.
    pub body: Vec<u8>,
}

/// One call of a changing RPC.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asks.
    pub identity: Arc<Identity>,
    /// Which RPC.
    pub method: Method,
    /// The trace the call is part of.
    pub trace_id: Option<TraceId>,
    /// The call's own name, if it has one.
    pub request: Option<NamedRequest>,
    /// For whom the caller says it acts.
    pub on_behalf_of: Option<OnBehalfOf>,
}

impl App {
    /// The call's name as the log keeps it, its body hashed under the key of `scope`.
    pub(crate) fn name_request(
        &self,
        call: &Call,
        scope: &Scope,
    ) -> Result<Option<Request>, AppError> {
        let Some(named) = &call.request else { return Ok(None) };
        let key = data_key(&self.vault.data_keys, scope)?;
        let digest = self.vault.data_keys.request_digest(key, &named.body)?;
        Ok(Some(Request { id: named.id, method: call.method, digest }))
    }

    /// Hands a command to the writer and waits until it is durable and applied, or refused.
    pub(crate) async fn commit(
        &self,
        call: &Call,
        request: Option<Request>,
        act: Act,
    ) -> Result<Done, AppError> {
        self.confirm(&call.identity)?;
        let identity = &call.identity;
        let actor = Actor { caller: Some(identity.id), mechanism: identity.mechanism() };
        let command = Command { act, actor, trace_id: call.trace_id, request };
        let _commit = spans::part("keyledger.commit");
        let answer = self.writer.submit(Lane::Commands, command)?;
        answer.await.map_err(|_| AppError::Draining)?.map_err(AppError::Refused)
    }
}
