"""Logs made up here, signed with a key of the test's own: each is wrong in one thing that only one rule can find."""

from history_maker import Readme, Signer, sha256, signed
from keyledger.ledger.v1.record_pb2 import Personal, Record

ID = bytes(range(16))
KEY, OTHER, CALLER = b"key " * 3, b"othe" * 3, b"call" * 3
TAG = {"pepper": 1, "tag": bytes(32)}
SIGNER = Signer("made.example/log")
KEY_OF = {"tenant_id": "acme", "account_id": "billing", "key_id": KEY}
CLEAR = Personal(salt=bytes(32), name="ci").SerializeToString()


REFUSED = {
    "sources": [{"source": 1, "count": 2}],
    "samples": [{"trace_id": ID, "source": 1, "named": {"tenant_id": "acme", "key_id": KEY}}],
}


def window(allowed: int, denied: int, last: int) -> dict:
    totals = [{"outcome": 1, "count": allowed, "first": 5, "last": 6}] * (allowed > 0)
    totals += [{"outcome": 2, "count": denied, "first": 5, "last": 5}] * (denied > 0)
    return {"span_seconds": 60, "totals": totals, "first_position": last, "last_position": last}


def records() -> list[Record]:
    """A log that is right, with every kind of event. Positions of key KEY: 3, 5, 6, 7, 8, 9, 10, 12, 13."""
    account = {"tenant_id": "acme", "account_id": "billing"}
    state = {"state": {"plan": "standard", "status": 1}}
    full = window(3, 2, 4) | {
        "callers": [CALLER], "actions": ["read"], "counts": [{"outcome": 1, "caller": 1, "action": 1, "count": 3}],
        "samples": [{"outcome": 2, "trace_id": ID, "presented_key": KEY}],
    }  # fmt: skip
    tried = window(0, 1, 0) | {"totals": [{"outcome": 13, "count": 1}]}
    events = [
        ({}, "policy_changed", {"plans": [{"name": "standard"}]}),
        (account, "account_registered", state),
        (KEY_OF, "key_created", {"tag": TAG, "environment": 1, "replaces": OTHER}),
        (
            {"caller_id": CALLER},
            "caller_created",
            {"tag": TAG, "roles": [1, 7], "spiffe_id": "spiffe://a/b"},
        ),
        (KEY_OF, "key_used", {"window": full, "total_allowed": 3, "total_denied": 2}),
        (KEY_OF, "key_updated", {}),
        (KEY_OF, "key_disabled", {}),
        (KEY_OF, "key_enabled", {}),
        (KEY_OF, "key_rotated", {"successor": OTHER, "retire_when_idle_for": 1}),
        (KEY_OF, "key_revoked", {}),
        (account | {"key_id": OTHER}, "key_used", {"window": window(0, 1, 0), "total_denied": 1}),
        (KEY_OF, "key_used", {"window": window(1, 1, 9), "total_allowed": 4, "total_denied": 3}),
        (KEY_OF, "key_retired", {}),
        ({}, "unknown_key_tried", {"window": tried}),
        ({}, "usage_gap", {"cause": 1}),
        ({"caller_id": CALLER}, "caller_rotated", {"tag": TAG}),
        ({"caller_id": CALLER}, "caller_revoked", {}),
        (account, "account_changed", state),
        ({}, "pepper_rotated", {"version": 2, "check": ID}),
        ({}, "clock_stepped", {}),
        (
            {},
            "log_restored",
            {"origin": bytes(32), "generation": 2, "restored_to": 20, "root": bytes(32)},
        ),
        ({}, "loss_resolved", {"generation": 2, "first": 21, "resolution": 2}),
        ({}, "signing_key_changed", {"public_key": bytes(32), "change": 1}),
        ({}, "audit_read", {"caller_id": CALLER, "rpc": "AuditService/StreamEvents", "calls": 1}),
        ({}, "calls_refused", {"rpc": "KeyService/RevokeKey", "reason": 1, "count": 2} | REFUSED),
        (account, "account_erased", {}),
        (KEY_OF, "key_rehashed", {"tag": TAG}),
        ({"caller_id": CALLER}, "caller_rehashed", {"tag": TAG}),
        ({}, "pepper_retired", {"version": 1, "ended_keys": 1}),
    ]
    made, last = [], {}
    for position, (subject, kind, event) in enumerate(events, 1):
        record = Record(format=1, position=position, event_id=ID, record_time=position, **subject)
        record.actor.mechanism = 1
        name = str(sorted(subject.items()))
        record.previous_position, last[name] = last.get(name, 0), position
        getattr(record, kind).SetInParent()
        fill(getattr(record, kind), event)
        made.append(record)
    made[2].sealed.nonce = KEY
    made[2].commitment = sha256(b"keyledger/v1/personal\0" + CLEAR)
    made[2].request.id, made[2].request.method, made[2].request.digest = ID, 11, ID
    return made


def fill(message, fields: dict) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            fill(getattr(message, name), value)
        elif isinstance(value, list) and isinstance(value[0], dict):
            for one in value:
                fill(getattr(message, name).add(), one)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)


def archive(log: list[Record], readme: Readme) -> bytes:
    clears = [CLEAR if record.commitment else b"" for record in log]
    return signed([record.SerializeToString() for record in log], clears, SIGNER, readme)


def put(record: Record, path: str, value) -> None:
    """Sets the field at a path such as key_used.window.totals.0.count; clears it if the value is None."""
    *way, name = path.split(".")
    message = record
    for step in way:
        message = message[int(step)] if step.isdigit() else getattr(message, step)
    if name.isdigit():
        message[int(name)] = value
    elif value is None:
        message.ClearField(name)
    elif isinstance(value, (list, dict)):
        message.ClearField(name)
        fill(message, {name: value})
    else:
        setattr(message, name, value)


WINDOW = "key_used.window."
CHANGES = [  # position, path, value, a part of the refusal
    (5, "format", 2, "format 2"),
    (5, "position", 6, "the record says it is 6"),
    (5, "event_id", bytes(15), "event_id of 15 bytes"),
    (5, "record_time", 3, "record_time runs backwards"),
    (5, "previous_position", 0, "chain: "),
    (5, "previous_position", 4, "chain: "),
    (4, "previous_position", 1, "chain: "),
    (15, "previous_position", 1, "chain: "),
    (18, "previous_position", 0, "chain: "),
    (5, "tenant_id", "", "is no name"),
    (5, "account_id", "", "is no name"),
    (5, "account_id", "a" * 129, "is no name"),
    (5, "account_id", "a/b", "is no name"),
    (5, "account_id", "other", "the key is another account's"),
    (5, "tenant_id", "other", "the key is another account's"),
    (5, "key_id", bytes(11), "key_id of 11 bytes"),
    (5, "key_id", b"", "chain: "),
    (4, "key_id", KEY, "key_id without an account"),
    (5, "caller_id", CALLER, "caller_id beside"),
    (2, "caller_id", CALLER, "caller_id beside"),
    (4, "caller_id", bytes(13), "caller_id of 13 bytes"),
    (5, "actor", None, "mechanism is no value"),
    (5, "actor.mechanism", 5, "mechanism is no value"),
    (5, "actor.caller_id", bytes(1), "caller_id of 1 bytes"),
    (5, "trace_id", bytes(8), "trace_id of 8 bytes"),
    (3, "request.id", b"", "id of 0 bytes"),
    (3, "request.digest", bytes(32), "digest of 32 bytes"),
    (3, "request.method", 0, "method is out of range"),
    (3, "request.method", 13, "method is out of range"),
    (3, "sealed", None, "sealed or commitment"),
    (3, "sealed.nonce", bytes(16), "nonce of 16 bytes"),
    (4, "commitment", bytes(32), "sealed or commitment"),
    (3, "commitment", bytes(31), "commitment of 31 bytes"),
    (3, "commitment", bytes(32), "the disclosure is not"),
    (5, "key_used", None, "no event that is known"),
    (2, "account_registered.state", None, "status is no value"),
    (2, "account_registered.state.status", 4, "status is no value"),
    (3, "key_created.environment", 0, "environment is no value"),
    (3, "key_created.tag", None, "pepper is out of range"),
    (3, "key_created.tag.pepper", 65536, "pepper is out of range"),
    (3, "key_created.tag.tag", bytes(31), "tag of 31 bytes"),
    (3, "key_created.replaces", bytes(11), "replaces of 11 bytes"),
    (4, "caller_created.roles.1", 0, "roles is no value"),
    (4, "caller_created.roles.1", 8, "roles is no value"),
    (4, "caller_created.san", "b", "spiffe_id and san"),
    (9, "key_rotated.successor", b"", "successor of 0 bytes"),
    (9, "key_rotated.reason", 6, "reason is no value"),
    (9, "key_rotated.retire_when_idle_for", 0, "retire_when_idle_for is 0"),
    (15, "usage_gap.cause", 0, "cause is no value"),
    (21, "log_restored.origin", b"", "origin of 0 bytes"),
    (21, "log_restored.root", b"", "no root or no generation"),
    (21, "log_restored.generation", 0, "no root or no generation"),
    (19, "pepper_rotated.check", b"", "check of 0 bytes"),
    (19, "pepper_rotated.version", 0, "version is out of range"),
    (21, "log_restored.lost_to", 0, "lost_to is 0"),
    (22, "loss_resolved.first", 0, "a lost position is 0"),
    (22, "loss_resolved.last", 0, "a lost position is 0"),
    (22, "loss_resolved.resolution", 1, "root does not suit"),
    (22, "loss_resolved.root", bytes(32), "root does not suit"),
    (22, "loss_resolved.resolution", 0, "resolution is no value"),
    (5, "key_used.window", None, "span_seconds is 0"),
    (5, WINDOW + "span_seconds", 0, "span_seconds is 0"),
    (5, WINDOW + "totals", None, "window: totals are not"),
    (5, WINDOW + "totals.1.outcome", 1, "window: totals are not"),
    (5, WINDOW + "totals.0.outcome", 3, "window: totals are not"),
    (5, WINDOW + "totals.1.outcome", 14, "outcome is no value"),
    (5, WINDOW + "totals.1.outcome", 11, "outcome is not among"),
    (11, WINDOW + "totals.0.outcome", 11, "uses: an outcome that is not one of a key"),
    (5, WINDOW + "totals.1.count", 0, "count is 0"),
    (5, WINDOW + "totals.0.first", 7, "window: a total ends"),
    (5, WINDOW + "first_position", 0, "window: positions"),
    (5, WINDOW + "first_position", 5, "window: positions"),
    (5, WINDOW + "last_position", 0, "window: positions"),
    (5, WINDOW + "callers.0", bytes(11), "callers of 11 bytes"),
    (5, WINDOW + "counts.0.outcome", 3, "window: an outcome"),
    (5, WINDOW + "counts.0.caller", 2, "window: no such caller"),
    (5, WINDOW + "counts.0.action", 2, "window: no such action"),
    (5, WINDOW + "counts.0.count", 0, "count is 0"),
    (5, WINDOW + "counts.0.count", 4, "window: lines add up"),
    (5, WINDOW + "samples.0.outcome", 3, "window: an outcome"),
    (5, WINDOW + "samples.0.caller", 2, "window: no such caller"),
    (5, WINDOW + "samples.0.action", 2, "window: no such action"),
    (5, WINDOW + "samples.0.trace_id", bytes(1), "trace_id of 1 bytes"),
    (5, WINDOW + "totals.0.count", 4, "uses: total_allowed"),
    (5, WINDOW + "totals.1.count", 3, "uses: total_denied"),
    (12, "key_used.total_allowed", 1, "uses: total_allowed"),
    (12, "key_used.total_denied", 1, "uses: total_denied"),
    (12, WINDOW + "last_position", 10, "uses: allowed after the revocation at 10"),
    (12, WINDOW + "last_position", 11, "uses: allowed after the revocation at 10"),
    (12, WINDOW, {"first_position": 0, "last_position": 0}, "uses: allowed at no position"),
    (14, "unknown_key_tried.window.span_seconds", 0, "span_seconds is 0"),
    (23, "signing_key_changed.public_key", bytes(31), "public_key of 31 bytes"),
    (23, "signing_key_changed.change", 0, "change is no value"),
    (24, "audit_read.caller_id", b"", "audit_read: no caller"),
    (24, "audit_read.rpc", "", "audit_read: rpc"),
    (24, "audit_read.other", True, "audit_read: other"),
    (24, "audit_read.calls", 0, "audit_read: nothing was read"),
    (24, "audit_read.first", 1, "audit_read: ends before"),
    (24, "audit_read.last_position", 1, "audit_read: positions"),
    (24, "audit_read.first_position", 1, "audit_read: positions"),
    (24, "audit_read.named", {"tenant_id": "a/b"}, "tenant_id is no name"),
    (24, "audit_read.named", {"account_id": "a" * 129}, "account_id is no name"),
    (25, "calls_refused.rpc", "r" * 129, "calls_refused: rpc"),
    (25, "calls_refused.other", True, "calls_refused: other"),
    (25, "calls_refused.count", 0, "count is 0"),
    (25, "calls_refused.first", 1, "calls_refused: ends before"),
    (25, "calls_refused.count", 1, "calls_refused: more than count"),
    (25, "calls_refused.samples", [{}] * 3, "calls_refused: more than count"),
    (25, "calls_refused.sources.0.source", 0, "calls_refused: a source"),
    (25, "calls_refused.sources.0.count", 0, "count is 0"),
    (25, "calls_refused.samples.0.trace_id", bytes(1), "trace_id of 1 bytes"),
    (25, "calls_refused.samples.0.named.key_id", bytes(1), "key_id of 1 bytes"),
    (27, "key_rehashed.tag", None, "pepper is out of range"),
    (27, "key_rehashed.tag.tag", bytes(31), "tag of 31 bytes"),
    (28, "caller_rehashed.tag.pepper", 0, "pepper is out of range"),
    (29, "pepper_retired.version", 65536, "version is out of range"),
]


def run(cases, readme: Readme) -> None:
    key = SIGNER.verifier_key
    log = records()
    assert {record.WhichOneof("event") for record in log} == {
        field.name for field in Record.DESCRIPTOR.oneofs_by_name["event"].fields
    }, "every kind of event is in the log"
    cases.accepts("a log that is right", archive(log, readme), key=key)
    for position, path, value, word in CHANGES:
        log = records()
        if path == WINDOW:
            for name, one in value.items():
                put(log[position - 1], WINDOW + name, one)
        else:
            put(log[position - 1], path, value)
        name = f"position {position}, {path} = {value!r}"
        words = f"position {position}: ", word
        cases.refuses(name, words, archive(log, readme), key=key)
    others(cases, readme)


def others(cases, readme: Readme) -> None:
    """What is right though it looks odd, and what no single field shows."""
    key = SIGNER.verifier_key
    log = [record.SerializeToString() for record in records()]
    clears = [CLEAR if at == 2 else b"" for at in range(len(log))]
    newer = [*log[:5], log[5] + b"\xfa\x3f\x01x", *log[6:]]
    cases.accepts("a field of another number", signed(newer, clears, SIGNER, readme), key=key)
    event = Record.FromString(log[5])
    event.ClearField("key_updated")
    newer = [*log[:5], event.SerializeToString() + b"\xfa\x3f\x00", *log[6:]]
    cases.refuses(
        "an event of another number",
        "position 6: no event",
        signed(newer, clears, SIGNER, readme),
        key=key,
    )
    text = log[1].replace(b"standard", b"standar\xff")
    word = "position 2: does not decode"
    cases.refuses(
        "text that is not UTF-8",
        word,
        signed([log[0], text, *log[2:]], clears, SIGNER, readme),
        key=key,
    )
    cases.refuses(
        "an empty record",
        "position 3: format 0",
        signed([*log[:2], b"", *log[3:]], clears, SIGNER, readme),
        key=key,
    )
    for name, more in (("position", b"\x12\x01\x06"), ("mechanism", b"\x52\x03\x12\x01\x01")):
        odd = [*log[:5], log[5] + more, *log[6:]]
        word = "position 6: field"
        cases.refuses(f"{name} of another type", word, signed(odd, clears, SIGNER, readme), key=key)
    made = records()
    made[10].key_id = b""
    made[10].previous_position, made[17].previous_position = 2, 11
    cases.refuses("uses of no key", "uses of no key", archive(made, readme), key=key)
    made = records()
    put(made[4], WINDOW + "totals.0.count", (1 << 64) - 1)
    made[4].key_used.total_allowed = made[11].key_used.total_allowed = (1 << 64) - 1
    cases.accepts("sums that stay at the highest number", archive(made, readme), key=key)
    made = records()
    made[9].key_updated.SetInParent()
    put(made[11], WINDOW + "last_position", 11)
    cases.accepts("uses of a key that is not revoked", archive(made, readme), key=key)
    made[8].key_revoked.SetInParent()
    made[9].key_revoked.SetInParent()
    put(made[11], WINDOW + "last_position", 9)
    cases.refuses(
        "the first revocation counts", "after the revocation at 9", archive(made, readme), key=key
    )
