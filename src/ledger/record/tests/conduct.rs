//! Records of reads and refusals: their bytes, what comes back, and what is refused.

use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::{RecordError, decode};
use super::golden::{Wire, fact, holds, of_service, wire};
use super::strategies::{bytes, key_id, position, time};
use crate::domain::conduct::{
    AuditRead, CallsRefused, Named, Reader, Refused, RefusedCall, RefusedSource,
};
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, CallerId, KeyId, Position, TenantId, TraceId};
use crate::domain::subject::Subject;
use crate::domain::testing::tenant;
use crate::domain::time::Time;

const AT: fn(i64) -> Time = Time::from_micros;

fn of_service_is(event: Event, field: u64, wire: &Wire) {
    holds(&fact(Subject::Service, event), &of_service(field, wire));
}

fn named() -> Named {
    Named {
        tenant: Some(tenant("acme")),
        account: AccountId::parse("web").ok(),
        key: Some(KeyId([0xcc; 12])),
        caller: Some(CallerId([0xcd; 12])),
    }
}

fn wire_named() -> Wire {
    wire().bytes(1, "acme").bytes(2, "web").bytes(3, [0xcc; 12]).bytes(4, [0xcd; 12])
}

#[test]
fn reads_of_the_history() {
    let reader = Reader {
        caller: CallerId([0xca; 12]),
        rpc: "AuditService/StreamEvents".into(),
        named: named(),
    };
    let read = AuditRead {
        window: AT(60_000_000),
        reader: Some(reader),
        calls: 1,
        events: 300,
        positions: Position::new(5).zip(Position::new(400)),
        first: AT(61_000_000),
        last: AT(62_000_000),
    };
    let times = |wire: Wire| wire.number(10, 61_000_000).number(11, 62_000_000);
    let event = wire()
        .number(1, 60_000_000)
        .bytes(3, [0xca; 12])
        .bytes(4, "AuditService/StreamEvents")
        .message(5, &wire_named())
        .number(6, 1)
        .number(7, 300)
        .number(8, 5)
        .number(9, 400);
    of_service_is(Event::AuditRead(Box::new(read.clone())), 70, &times(event));
    let other = AuditRead { reader: None, positions: None, events: 0, ..read };
    let event = times(wire().number(1, 60_000_000).number(2, 1).number(6, 1));
    of_service_is(Event::AuditRead(Box::new(other)), 70, &event);
}

#[test]
fn refused_calls() {
    let refused = Refused {
        caller: Some(CallerId([0xca; 12])),
        rpc: "KeyService/RevokeKey".into(),
        reason: 20,
    };
    let one = NonZeroU32::MIN;
    let sample = RefusedCall {
        time: AT(61_000_000),
        trace_id: Some(TraceId([0x7a; 16])),
        named: named(),
        source: Some(one),
    };
    let bare =
        RefusedCall { trace_id: None, named: Named::default(), source: None, ..sample.clone() };
    let calls = CallsRefused {
        window: AT(60_000_000),
        refused: Some(refused),
        count: 300,
        first: AT(61_000_000),
        last: AT(62_000_000),
        sources: vec![RefusedSource { source: one, count: 299 }],
        samples: vec![sample, bare],
    };
    let counts = |wire: Wire| wire.number(6, 300).number(7, 61_000_000).number(8, 62_000_000);
    let sample =
        wire().number(1, 61_000_000).bytes(2, [0x7a; 16]).message(3, &wire_named()).number(4, 1);
    let event = wire()
        .number(1, 60_000_000)
        .bytes(3, [0xca; 12])
        .bytes(4, "KeyService/RevokeKey")
        .number(5, 20);
    let event = counts(event)
        .message(9, &wire().number(1, 1).number(2, 299))
        .message(10, &sample)
        .message(10, &wire().number(1, 61_000_000));
    of_service_is(Event::CallsRefused(Box::new(calls.clone())), 71, &event);
    let (sources, samples) = (Vec::new(), Vec::new());
    let other = CallsRefused { refused: None, sources, samples, ..calls };
    let event = counts(wire().number(1, 60_000_000).number(2, 1));
    of_service_is(Event::CallsRefused(Box::new(other)), 71, &event);
}

#[test]
fn conduct_that_cannot_be_is_refused() {
    let refused = |kind, event: Wire, field| {
        let found = decode(&of_service(kind, &event).0);
        assert_eq!(found, Err(RecordError::Field(field)), "{kind}: {:?}", event.0);
    };
    let read = || wire().bytes(3, [1; 12]).bytes(4, "A/B");
    assert!(decode(&of_service(70, &read().number(6, 1)).0).is_ok());
    refused(70, read(), "audit_read");
    refused(70, read().number(6, 1).number(10, 5), "audit_read");
    refused(70, read().number(7, 1).number(8, 5).number(9, 4), "audit_read");
    refused(70, read().number(7, 1).number(9, 4), "first_position");
    refused(70, wire().bytes(4, "A/B").number(6, 1), "caller_id");
    refused(70, wire().bytes(3, [1; 11]).number(6, 1), "caller_id");
    refused(70, wire().number(2, 1).bytes(3, [1; 12]).number(6, 1), "other");
    refused(70, wire().number(2, 1).bytes(4, "A/B").number(6, 1), "other");
    refused(70, wire().bytes(3, [1; 12]).bytes(4, "r".repeat(129)).number(6, 1), "audit_read");
    let named = wire().bytes(1, "not a tenant");
    refused(70, read().message(5, &named).number(6, 1), "named.tenant_id");

    let calls = || wire().bytes(4, "A/B").number(5, 1);
    assert!(decode(&of_service(71, &calls().number(6, 1)).0).is_ok());
    refused(71, calls(), "calls_refused");
    refused(71, wire().number(6, 1), "calls_refused");
    refused(71, wire().number(2, 1).number(5, 1).number(6, 1), "other");
    let source = |place, count| wire().number(1, place).number(2, count);
    refused(71, calls().number(6, 1).message(9, &source(1, 2)), "calls_refused");
    refused(71, calls().number(6, 1).message(9, &source(0, 1)), "sources.source");
    let sample = wire().bytes(2, [1; 5]);
    refused(71, calls().number(6, 1).message(10, &sample), "samples.trace_id");
}

fn any_named() -> impl Strategy<Value = Named> {
    let id = || option::of("[A-Za-z0-9._~-]{1,128}");
    (id(), id(), option::of(key_id()), option::of(bytes().prop_map(CallerId))).prop_map(
        |(tenant, account, key, caller)| Named {
            tenant: tenant.map(|id| TenantId::parse(&id).expect("valid")),
            account: account.map(|id| AccountId::parse(&id).expect("valid")),
            key,
            caller,
        },
    )
}

fn rpc() -> impl Strategy<Value = String> {
    "[A-Za-z.]{1,60}/[A-Za-z]{1,60}"
}

pub(super) fn audit_read() -> impl Strategy<Value = Event> {
    let reader = (bytes().prop_map(CallerId), rpc(), any_named());
    let reader = reader.prop_map(|(caller, rpc, named)| Reader { caller, rpc: rpc.into(), named });
    let counts = (1..=u64::MAX, any::<u64>(), option::of((position(), position())));
    (time(), option::of(reader), counts, time(), time()).prop_map(
        |(window, reader, (calls, events, positions), one, other)| {
            let positions = positions.map(|(one, other)| (one.min(other), one.max(other)));
            let (first, last) = (one.min(other), one.max(other));
            let read = AuditRead { window, reader, calls, events, positions, first, last };
            Event::AuditRead(Box::new(read))
        },
    )
}

pub(super) fn calls_refused() -> impl Strategy<Value = Event> {
    let refused = (option::of(bytes().prop_map(CallerId)), rpc(), any::<u32>());
    let refused =
        refused.prop_map(|(caller, rpc, reason)| Refused { caller, rpc: rpc.into(), reason });
    let place = || (1..=u32::MAX).prop_map(|place| NonZeroU32::new(place).expect("not 0"));
    let source = (place(), 1..=9_u64).prop_map(|(source, count)| RefusedSource { source, count });
    let trace = option::of(bytes().prop_map(TraceId));
    let sample = (time(), trace, any_named(), option::of(place()))
        .prop_map(|(time, trace_id, named, source)| RefusedCall { time, trace_id, named, source });
    let told = (vec(source, 0..4), vec(sample, 0..4));
    (time(), option::of(refused), 36..=u64::MAX, told, time(), time()).prop_map(
        |(window, refused, count, (sources, samples), one, other)| {
            let (first, last) = (one.min(other), one.max(other));
            let calls = CallsRefused { window, refused, count, first, last, sources, samples };
            Event::CallsRefused(Box::new(calls))
        },
    )
}
