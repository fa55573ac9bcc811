//! Authenticate: from the key table alone. No I/O once a key's name has been read, and no lock.

use std::net::IpAddr;
use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::uses::record::Asked;
use crate::domain::ids::{AccountRef, KeyId, Position, TenantId, TraceId};
use crate::domain::key_format::{self, Environment, KeyProblem, PresentedKey};
use crate::domain::permission::{Permissions, PlanName, RoleName};
use crate::domain::personal::Personal;
use crate::domain::tag::{Purpose, Tag};
use crate::domain::time::Time;
use crate::domain::usage::{Tried, UseOutcome};
use crate::domain::verdict::{self, Ask, Denial, Denied};
use crate::projection::key_table::Row;

/// What is known of a use besides the key.
#[derive(Debug, Default)]
pub struct UseContext {
    /// What it is for, in the caller's words; empty if not given.
    pub action: String,
    /// Where the request comes from, if that is known and an address.
    pub source: Option<IpAddr>,
    /// What the request says it comes from; empty if not given.
    pub agent: String,
    /// The trace the call is part of.
    pub trace_id: Option<TraceId>,
}

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// The key as it was presented; empty if none was.
    pub api_key: &'a str,
    /// The tenant the request is for, if it is for one.
    pub tenant: Option<&'a TenantId>,
    /// All of these are required; valid permission words.
    pub required: Vec<String>,
    /// What is known of the use.
    pub context: UseContext,
    /// Decide no earlier than this.
    pub min_position: Option<Position>,
}

/// Who a key speaks for.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The key.
    pub key_id: KeyId,
    /// The account it inherits from.
    pub account: Arc<AccountRef>,
    /// Live or test.
    pub environment: Environment,
    /// The account's roles.
    pub roles: Vec<RoleName>,
    /// What the key grants now.
    pub permissions: Permissions,
    /// The account's plan.
    pub plan: PlanName,
    /// From when the key no longer works; none: never.
    pub expire_time: Option<Time>,
    /// The key's name and metadata.
    pub personal: Arc<Personal>,
}

/// The answer about a presented key.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It may be used.
    Allowed(Principal),
    /// No key was presented.
    MissingKey,
    /// What was presented is not the text of a key.
    MalformedKey(KeyProblem),
    /// There is no such key, or the secret is wrong, or it is not the caller's to know.
    UnknownKey,
    /// The secret is right and the key may not be used.
    Denied(KeyId, Denied),
}

/// The answer, and the position it was decided at.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// The head when deciding began: everything up to it was taken into account.
    pub position: Option<Position>,
}

/// The answer, and what goes on record of it.
#[derive(Debug)]
pub(crate) struct Decided {
    /// The answer to whoever asked.
    pub(crate) outcome: Outcome,
    /// What was presented, in truth: a key that is not the asking caller's to know is told here.
    pub(crate) tried: Tried,
    /// What was answered, in truth.
    pub(crate) recorded: UseOutcome,
}

/// A verdict on a row whose secret has matched.
enum Judged {
    /// The caller may not know the key.
    NotToKnow(Arc<AccountRef>),
    Denied(Arc<AccountRef>, Denied),
    Passed(Passed),
}

/// A key that passed, before its personal fields are at hand.
struct Passed {
    principal: Principal,
    personal_at: Position,
}

impl App {
    /// Authenticate on behalf of a calling service.
    ///
    /// # Errors
    /// [`AppError`] for the caller's own faults and ours; a denied key is an answer, not an error.
    pub async fn authenticate(
        &self,
        identity: &Identity,
        question: Question<'_>,
    ) -> Result<Decision, AppError> {
        self.confirm(identity)?;
        if let Some(tenant) = question.tenant {
            identity.enter(tenant)?;
        }
        self.refuse_if_held()?;
        let position = self.table.head();
        if question.min_position > position {
            let asked = question.min_position.map_or(0, Position::get);
            return Err(AppError::BeyondHead { asked, head: position.map_or(0, Position::get) });
        }
        let tenant = question.tenant.or_else(|| identity.only_tenant());
        let Question { required, context, .. } = question;
        let ask = Ask { tenant, required: &required, source: context.source };
        let may_know = |row: &Row| identity.may_enter(&row.key.account.tenant);
        let Decided { outcome, tried, recorded } =
            self.decide_key(question.api_key, &ask, may_know).await?;
        let asked = Asked { caller: Some(identity.id), required, context, position };
        self.record_use(tried, recorded, asked).await?;
        Ok(Decision { outcome, position })
    }

    /// Refuses to authenticate while it is not known what a restore lost: a key may have been revoked there.
    ///
    /// # Errors
    /// [`AppError::RevocationsUnresolved`].
    pub(crate) fn refuse_if_held(&self) -> Result<(), AppError> {
        if !self.table.is_held() {
            return Ok(());
        }
        match self.table.log_state().losses.first() {
            Some(loss) => {
                Err(AppError::RevocationsUnresolved { first: loss.first, last: loss.last })
            }
            None => Ok(()),
        }
    }

    /// Decides on a presented key. Keys that `may_know` refuses are unknown keys.
    pub(crate) async fn decide_key(
        &self,
        api_key: &str,
        ask: &Ask<'_>,
        may_know: impl Fn(&Row) -> bool,
    ) -> Result<Decided, AppError> {
        let unknown = |outcome, recorded, presented| {
            Ok(Decided { outcome, tried: Tried::Unknown(presented), recorded })
        };
        if api_key.is_empty() {
            return unknown(Outcome::MissingKey, UseOutcome::MissingKey, None);
        }
        let presented = match self.parse_key(api_key) {
            Ok(presented) => presented,
            Err(problem) => {
                let malformed = Outcome::MalformedKey(problem);
                return unknown(malformed, UseOutcome::MalformedKey, None);
            }
        };
        let id = KeyId(presented.id);
        let now = self.now();
        let verdict = self.table.with_row(&id, |row| {
            if !self.is_secret_of(row, &presented) {
                return None;
            }
            if !may_know(row) {
                return Some(Judged::NotToKnow(Arc::clone(&row.key.account)));
            }
            Some(judge_row(id, row, ask, now))
        });
        if verdict.is_none() {
            self.spend_a_tag(&presented);
        }
        match verdict.flatten() {
            // No such key, or its secret is wrong.
            None => unknown(Outcome::UnknownKey, UseOutcome::UnknownKey, Some(id)),
            Some(Judged::NotToKnow(account)) => {
                let (tried, recorded) = (Tried::Key(id, account), UseOutcome::TenantMismatch);
                Ok(Decided { outcome: Outcome::UnknownKey, tried, recorded })
            }
            Some(Judged::Denied(account, denied)) => {
                if matches!(denied.denial, Denial::Expired | Denial::Superseded) {
                    self.table.witness(now);
                }
                let (tried, recorded) = (Tried::Key(id, account), denied.denial.into());
                Ok(Decided { outcome: Outcome::Denied(id, denied), tried, recorded })
            }
            Some(Judged::Passed(passed)) => {
                let personal = self.personal_at(passed.personal_at).await?;
                let principal = Principal { personal, ..passed.principal };
                let tried = Tried::Key(id, Arc::clone(&principal.account));
                let outcome = Outcome::Allowed(principal);
                Ok(Decided { outcome, tried, recorded: UseOutcome::Allowed })
            }
        }
    }

    /// Parses the text of a key. A caller's credential is never a key.
    pub(crate) fn parse_key(&self, text: &str) -> Result<PresentedKey, KeyProblem> {
        let presented = key_format::parse(&self.prefix, text)?;
        match presented.environment {
            Environment::Live | Environment::Test => Ok(presented),
            Environment::Service => Err(KeyProblem::ForeignPrefix),
        }
    }

    /// Whether the presented secret is the key's. Tags are compared in constant time.
    pub(crate) fn is_secret_of(&self, row: &Row, presented: &PresentedKey) -> bool {
        let Some(pepper) = self.vault.peppers.get(row.key.pepper) else { return false };
        let tag = pepper.tag(Purpose::Key, &presented.id, &presented.secret);
        tag.matches(&row.key.tag) && presented.environment == row.key.environment
    }

    /// Does for an unknown key the work a known one costs, so that time tells nothing.
    pub(crate) fn spend_a_tag(&self, presented: &PresentedKey) {
        let pepper = self.vault.peppers.current();
        let tag = pepper.tag(Purpose::Key, &presented.id, &presented.secret);
        std::hint::black_box(tag.matches(&Tag::from_bytes([0; 32])));
    }
}

fn judge_row(id: KeyId, row: &Row, ask: &Ask<'_>, now: Time) -> Judged {
    let standing = row.account.standing();
    let (key, account) = (&row.key, &standing.account);
    if let Err(denied) = verdict::judge(key, account, &standing.effective, ask, now) {
        return Judged::Denied(Arc::clone(&key.account), denied);
    }
    let principal = Principal {
        key_id: id,
        account: Arc::clone(&key.account),
        environment: key.environment,
        roles: account.state.roles.clone(),
        permissions: verdict::granted(key, &standing.effective),
        plan: account.state.plan.clone(),
        expire_time: key.expire_time(),
        personal: Arc::default(),
    };
    Judged::Passed(Passed { principal, personal_at: key.personal_at() })
}
