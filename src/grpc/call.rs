//! What a call brings besides its message: who asks, in which trace, under which name of its own.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use crate::app::call::{Call, NamedRequest};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::conduct::Named;
use crate::domain::ids::{AccountId, CallerId, KeyId, TenantId, TraceId};
use crate::domain::requests::Method;
use crate::domain::trace_context::{TRACEPARENT, TraceContext, context_of_all};
use crate::grpc::decode::{Violations, decode};
use crate::proto::v1;

/// The caller that the access layer recognised.
///
/// # Errors
/// [`AppError::Internal`] if there is none: the handler is served without that layer.
pub(super) fn identity<M>(request: &Request<M>) -> Result<Arc<Identity>, AppError> {
    let identity = request.extensions().get::<Arc<Identity>>().cloned();
    identity.ok_or_else(|| {
        tracing::error!("a call reached its handler without passing the access layer");
        AppError::Internal
    })
}

/// What a call named, told to the gate by the handler that has read it, in case the call is refused. Only what is
/// well-formed is told: text that a caller put in the wrong field may be a secret.
#[derive(Clone, Debug, Default)]
pub(super) struct NamedByCall(Arc<OnceLock<Named>>);

impl NamedByCall {
    /// What was told; nothing if it was not read.
    pub(super) fn get(&self) -> Named {
        self.0.get().cloned().unwrap_or_default()
    }

    /// Tells what the call of these extensions names.
    pub(super) fn tell(extensions: &Extensions, named: impl FnOnce() -> Named) {
        if let Some(told) = extensions.get::<NamedByCall>() {
            told.0.get_or_init(named);
        }
    }
}

/// A tenant and an account of it.
pub(super) fn named_account(tenant: &str, account: &str) -> Named {
    let (tenant, account) = (TenantId::parse(tenant).ok(), AccountId::parse(account).ok());
    Named { tenant, account, ..Named::default() }
}

fn named_key(key: &str) -> Named {
    Named { key: KeyId::parse(key), ..Named::default() }
}

fn named_caller(caller: &str) -> Named {
    Named { caller: CallerId::parse(caller), ..Named::default() }
}

/// A request that changes something.
pub(super) trait Changing: Message {
    /// Which RPC it is the request of.
    const METHOD: Method;

    /// What it names.
    fn named(&self) -> Named;

    /// The name the caller gave to the call; empty if it gave none.
    fn request_id(&mut self) -> &mut String;

    /// For whom the caller says it acts.
    fn on_behalf_of(&self) -> Option<&v1::OnBehalfOf>;
}

macro_rules! changing {
    ($($message:ident of $method:ident names $named:expr;)+) => {
        $(impl Changing for v1::$message {
            const METHOD: Method = Method::$method;

            fn named(&self) -> Named {
                let named: fn(&Self) -> Named = $named;
                named(self)
            }

            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }

            fn on_behalf_of(&self) -> Option<&v1::OnBehalfOf> {
                self.on_behalf_of.as_ref()
            }
        })+
    };
}

changing! {
    PutAccountRequest of PutAccount names |put| {
        let account = put.account.as_ref();
        account.map_or_else(Named::default, |put| named_account(&put.tenant_id, &put.account_id))
    };
    CreateKeyRequest of CreateKey names |create| {
        named_account(&create.tenant_id, &create.account_id)
    };
    UpdateKeyRequest of UpdateKey names |update| {
        update.key.as_ref().map_or_else(Named::default, |key| named_key(&key.key_id))
    };
    DisableKeyRequest of DisableKey names |disable| named_key(&disable.key_id);
    EnableKeyRequest of EnableKey names |enable| named_key(&enable.key_id);
    RotateKeyRequest of RotateKey names |rotate| named_key(&rotate.key_id);
    RevokeKeyRequest of RevokeKey names |revoke| named_key(&revoke.key_id);
    ReportLeakedKeyRequest of ReportLeakedKey names |_| Named::default();
    CreateCallerRequest of CreateCaller names |_| Named::default();
    RotateCallerRequest of RotateCaller names |rotate| named_caller(&rotate.caller_id);
    RevokeCallerRequest of RevokeCaller names |revoke| named_caller(&revoke.caller_id);
    EraseAccountRequest of EraseAccount names |erase| {
        named_account(&erase.tenant_id, &erase.account_id)
    };
    RotatePepperRequest of RotatePepper names |_| Named::default();
    RetirePepperRequest of RetirePepper names |_| Named::default();
}

/// A changing call whose message is yet to be read.
#[derive(Debug)]
pub(super) struct Incoming<M> {
    /// Who asks.
    pub(super) identity: Arc<Identity>,
    /// The trace the call is part of.
    pub(super) trace_id: Option<TraceId>,
    /// The message.
    pub(super) message: M,
}

impl<M: Changing> Incoming<M> {
    /// Takes a request apart.
    ///
    /// # Errors
    /// As [`identity`].
    pub(super) fn of(request: Request<M>) -> Result<Self, AppError> {
        let identity = identity(&request)?;
        let trace_id = trace_id(request.metadata());
        NamedByCall::tell(request.extensions(), || request.get_ref().named());
        Ok(Incoming { identity, trace_id, message: request.into_inner() })
    }

    /// Reads the message with `read`, and the call around it. The message tells calls of one name
    /// apart: a secret MUST have been taken out of it before.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with all that is wrong with the request.
    pub(super) fn read<T>(
        mut self,
        read: impl FnOnce(&mut Violations, M) -> Option<T>,
    ) -> Result<(Call, T), AppError> {
        decode(|bad| {
            let call = self.call(bad);
            let asked = read(bad, self.message);
            Some((call?, asked?))
        })
    }

    fn call(&mut self, bad: &mut Violations) -> Option<Call> {
        let on_behalf_of = bad.on_behalf_of(self.message.on_behalf_of());
        let id = bad.request_id(&std::mem::take(self.message.request_id()))?;
        let request = id.map(|id| NamedRequest { id, body: self.message.encode_to_vec() });
        Some(Call {
            identity: Arc::clone(&self.identity),
            method: M::METHOD,
            trace_id: self.trace_id,
            request,
            on_behalf_of: on_behalf_of?,
        })
    }
}

/// The trace of a call, from its `traceparent`.
pub(super) fn trace_id(metadata: &MetadataMap) -> Option<TraceId> {
    trace_id_of(metadata.as_ref())
}

/// As [`trace_id`], from the headers that the metadata came in.
pub(super) fn trace_id_of(headers: &HeaderMap) -> Option<TraceId> {
    trace_context(headers).map(|context| context.trace)
}

/// What the `traceparent` of a call says.
pub(super) fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    context_of_all(headers.get_all(TRACEPARENT).iter().map(HeaderValue::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::identify::Proof;
    use crate::domain::testing::working_admin;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const REQUEST_ID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

    fn traced(values: &[&str]) -> Option<TraceId> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append("traceparent", value.parse().expect("ascii"));
        }
        trace_id(&metadata)
    }

    #[test]
    fn a_trace_id_is_taken_from_a_valid_traceparent() {
        let bytes = u128::from_str_radix(TRACE, 16).expect("hex").to_be_bytes();
        let parent = "00f067aa0ba902b7";
        assert_eq!(traced(&[&format!("00-{TRACE}-{parent}-01")]), Some(TraceId(bytes)));
        assert_eq!(traced(&[&format!("cc-{TRACE}-{parent}-01-more")]), Some(TraceId(bytes)));
    }

    #[test]
    fn a_traceparent_that_breaks_the_rules_is_no_trace() {
        let (none, parent) = ("0".repeat(32), "00f067aa0ba902b7");
        for value in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-{parent}"),
            format!("00-{TRACE}-{parent}-01-more"),
            format!("ff-{TRACE}-{parent}-01"),
            format!("00-{none}-{parent}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{parent}-01", TRACE.to_uppercase()),
            format!("00-+{}-{parent}-01", &TRACE[1..]),
            format!(" 00-{TRACE}-{parent}-01"),
        ] {
            assert_eq!(traced(&[&value]), None, "{value}");
        }
        let good = format!("00-{TRACE}-{parent}-01");
        assert_eq!(traced(&[&good, &good]), None);
    }

    fn incoming(message: v1::DisableKeyRequest) -> Incoming<v1::DisableKeyRequest> {
        let caller = working_admin();
        let identity = Identity {
            id: CallerId([1; 12]),
            proof: Proof::Credential { tag: caller.tag.clone(), secret_at: None },
            caller: Arc::new(caller),
        };
        let mut request = Request::new(message);
        request.extensions_mut().insert(Arc::new(identity));
        Incoming::of(request).expect("an identity")
    }

    fn call(request_id: &str, comment: &str) -> Call {
        let message = v1::DisableKeyRequest {
            request_id: request_id.to_owned(),
            comment: comment.to_owned(),
            ..Default::default()
        };
        incoming(message).read(|_, _| Some(())).expect("valid").0
    }

    #[test]
    fn a_call_is_known_by_its_id_and_by_all_else_it_asks() {
        let named =
            |request_id: &str, comment: &str| call(request_id, comment).request.expect("named");
        let first = named(REQUEST_ID, "why");
        assert_eq!(first.id, *uuid::Uuid::parse_str(REQUEST_ID).expect("a UUID").as_bytes());
        let other_case = named(&REQUEST_ID.to_uppercase(), "why");
        assert_eq!((other_case.id, other_case.body), (first.id, first.body.clone()));
        assert_ne!(named(REQUEST_ID, "why not").body, first.body);
        assert!(call("", "why").request.is_none());
        assert_eq!(call("", "why").method, Method::DisableKey);
    }

    #[test]
    fn who_a_call_is_for_is_kept_unless_it_is_nobody() {
        let said = |subject: &str| {
            let said = v1::OnBehalfOf { subject: subject.to_owned(), ..Default::default() };
            let message = v1::DisableKeyRequest { on_behalf_of: Some(said), ..Default::default() };
            incoming(message).read(|_, _| Some(())).map(|(call, ())| call.on_behalf_of)
        };
        assert_eq!(said("ada").expect("valid").expect("said").subject, "ada");
        assert!(said("").expect("valid").is_none());
        assert!(said("a\u{0}b").is_err());
    }

    #[test]
    fn all_that_is_wrong_with_a_call_and_its_message_is_told_at_once() {
        let said = v1::OnBehalfOf { ticket: "\n".to_owned(), ..Default::default() };
        let message = v1::DisableKeyRequest {
            request_id: "1".to_owned(),
            on_behalf_of: Some(said),
            ..Default::default()
        };
        let read = incoming(message).read(|bad, message| bad.key_id("key_id", &message.key_id));
        let Err(AppError::Invalid(found)) = read else { panic!("{read:?}") };
        let fields: Vec<_> = found.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["on_behalf_of.ticket", "request_id", "key_id"]);
    }

    #[test]
    fn a_request_that_did_not_pass_the_access_layer_is_our_fault() {
        let refused = Incoming::of(Request::new(v1::DisableKeyRequest::default()));
        assert!(matches!(refused, Err(AppError::Internal)));
    }
}
