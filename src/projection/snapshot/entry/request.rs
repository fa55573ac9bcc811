//! A remembered call in a snapshot.
//!
//! | bytes | what |
//! |---|---|
//! | 8 ‖ 8 | position and time of its last record |
//! | 12 ‖ 4 ‖ 16 | its name: caller, number of the RPC, request id |
//! | 16 | digest of what it asked |
//! | 1 | whom or what the record is about: 0 the service, 1 an account, 2 a key, 3 a caller |
//! | … | an account: tenant, account; a key: tenant, account, key id (12); a caller: caller id (12) |

use std::sync::Arc;

use super::own_account;
use crate::domain::ids::{AccountRef, CallerId, KeyId};
use crate::domain::requests::{Method, Remembered, RequestKey};
use crate::domain::subject::Subject;
use crate::projection::snapshot::bytes::{Cursor, Put};

pub(in crate::projection::snapshot) fn encode(key: &RequestKey, did: &Remembered) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.put_position(did.position);
    out.put_time(did.time);
    out.extend(key.caller.0);
    out.extend(key.method.number().to_be_bytes());
    out.extend(key.id);
    out.extend(did.digest);
    match &did.subject {
        Subject::Service => out.push(0),
        Subject::Account(account) => {
            out.push(1);
            put_account(account, &mut out);
        }
        Subject::Key(account, id) => {
            out.push(2);
            put_account(account, &mut out);
            out.extend(id.0);
        }
        Subject::Caller(id) => {
            out.push(3);
            out.extend(id.0);
        }
    }
    out
}

pub(in crate::projection::snapshot) fn decode(bytes: &[u8]) -> Option<(RequestKey, Remembered)> {
    let mut from = Cursor(bytes);
    let (position, time) = (from.position()?, from.time()?);
    let caller = CallerId(from.array()?);
    let method = Method::from_number(from.u32()?)?;
    let key = RequestKey { caller, method, id: from.array()? };
    let digest = from.array()?;
    let subject = match from.u8()? {
        0 => Subject::Service,
        1 => Subject::Account(account(&mut from)?),
        2 => Subject::Key(account(&mut from)?, KeyId(from.array()?)),
        3 => Subject::Caller(CallerId(from.array()?)),
        _ => return None,
    };
    from.end((key, Remembered { digest, position, subject, time }))
}

fn put_account(account: &AccountRef, out: &mut Vec<u8>) {
    out.put_text(account.tenant.as_str());
    out.put_text(account.account.as_str());
}

fn account(from: &mut Cursor<'_>) -> Option<Arc<AccountRef>> {
    own_account(from.text()?, from.text()?)
}
