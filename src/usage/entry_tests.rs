//! Uses come back from a journal as they went, and nothing else is taken for uses.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::domain::testing::{account, at, key_id};
use crate::domain::usage::{MAX_ACTION, MAX_AGENT, sampled_permissions};

fn tried(outcome: UseOutcome) -> impl Strategy<Value = Tried> {
    let of_key = outcome.is_of_key();
    (any::<u8>(), any::<bool>(), "[a-c]").prop_map(move |(id, named, name)| {
        if of_key {
            Tried::Key(key_id(id), account(&name))
        } else {
            Tried::Unknown(named.then_some(key_id(id)))
        }
    })
}

fn any_use() -> impl Strategy<Value = Use> {
    let outcome = proptest::sample::select(UseOutcome::ALL);
    let way =
        (option::of(any::<[u8; 12]>()), "\\PC{0,9}", option::of(any::<IpAddr>()), "\\PC{0,9}");
    let rest =
        (option::of(any::<[u8; 16]>()), vec("[a-z:]{1,9}", 0..3), any::<u64>(), any::<i64>());
    let last = (any::<u32>(), any::<bool>());
    (outcome.prop_flat_map(|outcome| (Just(outcome), tried(outcome))), way, rest, last).prop_map(
        |((outcome, tried), (caller, action, source, agent), rest, (cost, alone))| {
            let (trace, required, position, time) = rest;
            Use {
                tried,
                outcome,
                caller: caller.map(CallerId),
                action,
                source,
                agent,
                trace_id: trace.map(TraceId),
                required,
                position: Position::new(position),
                time: Time::from_micros(time),
                cost,
                alone,
            }
        },
    )
}

fn encode(flushed: &Flushed) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_head(flushed.span, flushed.shed, &mut bytes);
    let mut encoder = Encoder::default();
    flushed.uses.iter().for_each(|used| encoder.put(used, &mut bytes));
    bytes
}

proptest! {
    #[test]
    fn uses_come_back_as_they_went(
        uses in vec(any_use(), 0..9),
        span in 1..=3600_u64,
        shed in option::of((any::<i64>(), any::<i64>(), any::<u64>())),
    ) {
        let time = Time::from_micros;
        let shed = shed.map(|(from, to, lost)| Shed { from: time(from), to: time(to), count: lost });
        let flushed = Flushed { span: Duration::from_secs(span), uses, shed };
        prop_assert_eq!(Decoder::default().decode(&encode(&flushed)), Ok(flushed));
    }

    #[test]
    fn no_bytes_end_the_process(bytes in vec(any::<u8>(), 0..99)) {
        let _ = Decoder::default().decode(&bytes);
    }
}

/// The field that is out of range, and how it is made so.
type Spoilt = (&'static str, fn(&mut wire::JournaledUse));

fn message() -> wire::JournaledUse {
    wire::JournaledUse {
        outcome: 1,
        key_id: vec![1; 12],
        tenant_id: "acme".to_owned(),
        account_id: "a".to_owned(),
        time: at(0).as_micros(),
        ..wire::JournaledUse::default()
    }
}

#[test]
fn what_is_out_of_range_is_refused_by_its_name() {
    let decode = |used: wire::JournaledUse| {
        let uses = wire::JournaledUses { span_seconds: 60, uses: vec![used], shed: None };
        Decoder::default().decode(&uses.encode_to_vec()).map(drop)
    };
    assert_eq!(decode(message()), Ok(()));
    let refused: [Spoilt; 8] = [
        ("outcome", |used| used.outcome = 0),
        ("outcome", |used| used.outcome = 300),
        ("key_id", |used| used.key_id.clear()),
        ("key_id", |used| used.key_id.truncate(11)),
        ("tenant_id", |used| used.tenant_id.clear()),
        ("source", |used| used.source = vec![1; 5]),
        ("caller_id", |used| used.caller_id = vec![1; 3]),
        ("trace_id", |used| used.trace_id = vec![1; 8]),
    ];
    for (field, spoil) in refused {
        let mut used = message();
        spoil(&mut used);
        assert_eq!(decode(used), Err(NotUses(field)));
    }
    let no_span = wire::JournaledUses::default().encode_to_vec();
    assert_eq!(Decoder::default().decode(&no_span), Err(NotUses("span_seconds")));
}

#[test]
fn the_largest_use_takes_no_more_than_the_recorder_counts_on() {
    let owner = AccountRef {
        tenant: TenantId::parse(&"t".repeat(128)).expect("valid"),
        account: AccountId::parse(&"a".repeat(128)).expect("valid"),
    };
    let used = Use {
        tried: Tried::Key(key_id(255), Arc::new(owner)),
        outcome: UseOutcome::PermissionMissing,
        caller: Some(CallerId([255; 12])),
        action: "x".repeat(MAX_ACTION),
        source: Some(IpAddr::from([255; 16])),
        agent: "x".repeat(MAX_AGENT),
        trace_id: Some(TraceId([255; 16])),
        required: sampled_permissions(vec!["a".to_owned(); 64]),
        position: Position::new(u64::MAX),
        time: Time::from_micros(-1),
        cost: u32::MAX,
        alone: true,
    };
    let flushed = |uses| Flushed { span: Duration::from_secs(3600), uses, shed: None };
    let alone = encode(&flushed(vec![used.clone()])).len();
    let two = encode(&flushed(vec![used.clone(), used])).len();
    assert!(two - alone <= 1024, "{}", two - alone);
}

#[test]
fn accounts_that_come_again_share_one_name() {
    let uses = wire::JournaledUses { span_seconds: 60, uses: vec![message(); 2], shed: None };
    let flushed = Decoder::default().decode(&uses.encode_to_vec()).expect("uses");
    let names: Vec<&Arc<AccountRef>> = flushed
        .uses
        .iter()
        .map(|used| match &used.tried {
            Tried::Key(_, account) => account,
            Tried::Unknown(_) => unreachable!("of a key"),
        })
        .collect();
    assert!(Arc::ptr_eq(names[0], names[1]));
}
