//! What a record's personal fields are bound to, and their opening.

use zeroize::Zeroizing;

use crate::domain::event::{EventKind, Recorded};
use crate::domain::ids::{AccountId, EventId, TenantId};
use crate::domain::personal::Personal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::ledger::record;
use crate::vault::{DataKeys, OpenError, SealContext, commitment};

/// What a record's personal fields are bound to.
pub(crate) fn context(subject: &Subject, kind: EventKind, event_id: EventId) -> SealContext<'_> {
    let account = match subject {
        Subject::Key(account, _) | Subject::Account(account) => Some(&**account),
        Subject::Caller(_) | Subject::Service => None,
    };
    let tenant: Option<&TenantId> = account.map(|account| &account.tenant);
    let account: Option<&AccountId> = account.map(|account| &account.account);
    SealContext { tenant, account, kind: kind as u32, event_id }
}

/// Opens the personal fields of a record; none if it has none.
///
/// # Errors
/// [`OpenError`] if they cannot be opened or are not what the record commits to.
pub(crate) fn open(data_keys: &DataKeys, fact: &Recorded) -> Result<Option<Personal>, OpenError> {
    let Some(private) = &fact.private else { return Ok(None) };
    if private.event_id != fact.event_id {
        return Err(OpenError::Altered);
    }
    open_private(data_keys, &fact.subject, fact.event.kind(), private).map(Some)
}

/// Clear bytes and the personal fields in them.
pub(crate) type Clear = (Zeroizing<Vec<u8>>, Personal);

/// The clear bytes that a record commits to, and the personal fields in them; none if it has none.
///
/// # Errors
/// [`OpenError`] if they are erased, or not what the record commits to.
pub(crate) fn open_clear(
    data_keys: &DataKeys,
    fact: &Recorded,
) -> Result<Option<Clear>, OpenError> {
    let Some(private) = &fact.private else { return Ok(None) };
    if private.event_id != fact.event_id {
        return Err(OpenError::Altered);
    }
    open_bytes(data_keys, &fact.subject, fact.event.kind(), private).map(Some)
}

/// As [`open`], of what was sealed for an event of that kind about `subject`.
pub(crate) fn open_private(
    data_keys: &DataKeys,
    subject: &Subject,
    kind: EventKind,
    private: &Private,
) -> Result<Personal, OpenError> {
    open_bytes(data_keys, subject, kind, private).map(|(_, personal)| personal)
}

fn open_bytes(
    data_keys: &DataKeys,
    subject: &Subject,
    kind: EventKind,
    private: &Private,
) -> Result<Clear, OpenError> {
    let context = context(subject, kind, private.event_id);
    let clear = data_keys.open_sealed(&private.sealed, &context)?;
    if commitment(&clear) != private.commitment {
        return Err(OpenError::Altered);
    }
    let personal = record::decode_personal(&clear).map_err(|_| OpenError::Altered)?;
    Ok((clear, personal))
}
