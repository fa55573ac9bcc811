//! Authenticate: from the key table alone. No I/O once a key's name has been read, but for who chose that
//! answers wait for the disk; no lock but for a few additions, to the account's rate window and to the buffer
//! that its use goes into.

use std::net::IpAddr;
use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::outcome_words::words;
use crate::app::uses::record::Asked;
use crate::domain::account::Account;
use crate::domain::ids::{AccountRef, KeyId, Position, TenantId, TraceId};
use crate::domain::key_format::{self, Environment, KeyProblem, PresentedKey};
use crate::domain::notices::Notices;
use crate::domain::permission::{Permissions, PlanName, RoleName};
use crate::domain::personal::Personal;
use crate::domain::rate_window::RateLimit;
use crate::domain::tag::{Purpose, Tag};
use crate::domain::time::Time;
use crate::domain::usage::{Tried, UseOutcome};
use crate::domain::verdict::{self, Ask, Denial, Denied};
use crate::projection::key_table::{Row, Standing};
use crate::telemetry::spans;

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
    /// What the use costs of the account's limit.
    pub cost: u32,
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
    /// What its holder should know.
    pub notices: Notices,
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
    /// As unknown or malformed as those before it, of which there were more than may be tried.
    TooManyUnknown,
    /// The secret is right and the key may not be used.
    Denied(KeyId, Denied),
}

/// The answer, and the position it was decided at.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// What is left of the account's limit; none if the secret has not matched, or there is no limit. Of a key that is
    /// one too many unknown ones: of what may be tried.
    pub rate_limit: Option<RateLimit>,
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
    /// What is left of the account's limit, if it has one and the asking caller may know of it.
    pub(crate) rate_limit: Option<RateLimit>,
    /// What the use was charged to that limit.
    pub(crate) charged: u32,
}

/// A verdict on a row whose secret has matched.
enum Judged {
    /// The caller may not know the key.
    NotToKnow(Arc<AccountRef>),
    Denied(Arc<AccountRef>, Denied),
    Passed(Passed),
}

/// A key that passed, before its personal fields are at hand: what its [`Principal`] is made of.
struct Passed {
    key_id: KeyId,
    account: Arc<AccountRef>,
    environment: Environment,
    /// As the account was judged.
    standing: Arc<Account>,
    permissions: Permissions,
    expire_time: Option<Time>,
    notices: Notices,
    personal_at: Position,
}

impl Passed {
    fn with(self, personal: Arc<Personal>) -> Principal {
        let state = &self.standing.state;
        Principal {
            key_id: self.key_id,
            account: self.account,
            environment: self.environment,
            roles: state.roles.clone(),
            permissions: self.permissions,
            plan: state.plan.clone(),
            expire_time: self.expire_time,
            personal,
            notices: self.notices,
        }
    }
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
        let admission = self.admit_use()?;
        let tenant = question.tenant.or_else(|| identity.only_tenant());
        let Question { required, context, .. } = question;
        let ask = Ask { tenant, required: &required, source: context.source };
        let may_know = |row: &Row| identity.may_enter(&row.key.account.tenant);
        let deciding = spans::part("keyledger.decide");
        let decided = self.decide_key(question.api_key, &ask, question.cost, may_know).await?;
        drop(deciding);
        let Decided { outcome, tried, recorded, rate_limit, charged } = decided;
        let (outcome, rate_limit) = match self.refuse_guessing(identity, &context, &outcome) {
            Ok(()) => (outcome, rate_limit),
            Err(spent) => (Outcome::TooManyUnknown, Some(spent)),
        };
        self.decisions.note(&outcome);
        let asked = Asked { caller: Some(identity.id), required, context, position, charged };
        self.record_use(admission, tried, recorded, asked).await?;
        spans::tell(|| words(&outcome));
        Ok(Decision { outcome, rate_limit, position })
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

    /// Charges a key that is answered as unknown or malformed to who tried it. A missing key guesses nothing, and what is
    /// known is never charged, whatever else comes from the same source. It is on record as what it is all the same.
    fn refuse_guessing(
        &self,
        identity: &Identity,
        context: &UseContext,
        outcome: &Outcome,
    ) -> Result<(), RateLimit> {
        match outcome {
            Outcome::UnknownKey | Outcome::MalformedKey(_) => {
                self.guessing.unknown_key(identity.id, context.source, self.clock.monotonic())
            }
            _ => Ok(()),
        }
    }

    /// Decides on a presented key, and charges `cost` to its account if it is allowed. Keys that `may_know`
    /// refuses are unknown keys.
    pub(crate) async fn decide_key(
        &self,
        api_key: &str,
        ask: &Ask<'_>,
        cost: u32,
        may_know: impl Fn(&Row) -> bool,
    ) -> Result<Decided, AppError> {
        let unknown = |outcome, recorded, presented| {
            let tried = Tried::Unknown(presented);
            Ok(Decided { outcome, tried, recorded, rate_limit: None, charged: 0 })
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
        let judged = self.table.with_row(&id, |row| {
            if !self.is_secret_of(row, &presented) {
                return None;
            }
            self.note_pepper_of_key(id, row, &presented.secret, now);
            if !may_know(row) {
                return Some(Ok((Judged::NotToKnow(Arc::clone(&row.key.account)), None)));
            }
            Some(self.judge_row(id, row, ask, cost, now))
        });
        if judged.is_none() {
            self.spend_a_tag(&presented);
        }
        let Some((judged, rate_limit)) = judged.flatten().transpose()? else {
            // No such key, or its secret is wrong.
            return unknown(Outcome::UnknownKey, UseOutcome::UnknownKey, Some(id));
        };
        let mut charged = 0;
        let (outcome, account, recorded) = match judged {
            Judged::NotToKnow(account) => {
                (Outcome::UnknownKey, account, UseOutcome::TenantMismatch)
            }
            Judged::Denied(account, denied) => {
                if matches!(denied.denial, Denial::Expired | Denial::Superseded) {
                    self.table.witness(now);
                }
                (Outcome::Denied(id, denied), account, denied.denial.into())
            }
            Judged::Passed(passed) => {
                charged = if rate_limit.is_some() { cost } else { 0 };
                let account = Arc::clone(&passed.account);
                match self.personal_at(passed.personal_at).await? {
                    Some(personal) => {
                        (Outcome::Allowed(passed.with(personal)), account, UseOutcome::Allowed)
                    }
                    // Its account has been erased since it was judged.
                    None => {
                        let denied = self.erased(&account);
                        (Outcome::Denied(id, denied), account, denied.denial.into())
                    }
                }
            }
        };
        Ok(Decided { outcome, tried: Tried::Key(id, account), recorded, rate_limit, charged })
    }

    /// Judges a key whose secret has matched; its account's limit last, for what is denied costs nothing.
    fn judge_row(
        &self,
        id: KeyId,
        row: &Row,
        ask: &Ask<'_>,
        cost: u32,
        now: Time,
    ) -> Result<(Judged, Option<RateLimit>), AppError> {
        let standing = row.account.standing();
        let (key, account) = (&row.key, &standing.account);
        let mut verdict = verdict::judge(key, account, &standing.effective, ask, now);
        let cost = if verdict.is_ok() { cost } else { 0 };
        let charge = |limit| self.charge(row, cost, limit);
        let rate_limit = standing.requests_per_minute.map(charge).transpose()?;
        if rate_limit.is_some_and(|left| left.retry_after.is_some()) {
            verdict = Err(Denied { denial: Denial::RateLimited, evidence: None });
        }
        let judged = match verdict {
            Err(denied) => Judged::Denied(Arc::clone(&key.account), denied),
            Ok(()) => {
                let notices = Notices::of(key, now, self.notices.expires_soon);
                Judged::Passed(passed(id, row, &standing, notices))
            }
        };
        Ok((judged, rate_limit))
    }

    /// Why no key of an account works whose data key is destroyed.
    fn erased(&self, account: &AccountRef) -> Denied {
        let standing = self.table.standing(account);
        let evidence = standing.map(|standing| standing.account.status_position);
        Denied { denial: Denial::AccountInactive, evidence }
    }

    /// Charges a use of a key to its account.
    fn charge(&self, row: &Row, cost: u32, limit: u32) -> Result<RateLimit, AppError> {
        if cost > limit {
            let must =
                format!("must be at most {limit}, the requests a minute of the account's plan");
            return Err(AppError::field("cost", must));
        }
        let now = self.clock.monotonic();
        Ok(self.table.rate_windows().charge(&row.account, now, cost, limit))
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
        let PresentedKey { id, secret, .. } = presented;
        let Some(tag) = self.vault.peppers.tag(row.key.pepper, Purpose::Key, id, secret) else {
            // The pepper is retired: nobody can tell any more.
            self.spend_a_tag(presented);
            return false;
        };
        tag.matches(&row.key.tag) && presented.environment == row.key.environment
    }

    /// Does for an unknown key the work a known one costs, so that time tells nothing.
    pub(crate) fn spend_a_tag(&self, presented: &PresentedKey) {
        let tag = self.pepper().tag(Purpose::Key, &presented.id, &presented.secret);
        std::hint::black_box(tag.matches(&Tag::from_bytes([0; 32])));
    }
}

fn passed(key_id: KeyId, row: &Row, standing: &Standing, notices: Notices) -> Passed {
    let (key, account) = (&row.key, &standing.account);
    Passed {
        key_id,
        account: Arc::clone(&key.account),
        environment: key.environment,
        standing: Arc::clone(account),
        permissions: verdict::granted(key, &standing.effective),
        expire_time: key.expire_time(),
        notices,
        personal_at: key.personal_at(),
    }
}
