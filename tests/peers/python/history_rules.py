"""What docs/history-format.md says of records: by themselves, their disclosures, and one after another."""

import hashlib
import re

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from keyledger.ledger.v1.record_pb2 import Record

U64 = (1 << 64) - 1
LENGTHS = {  # of the fields of these names, in every message
    "event_id": (16,), "key_id": (0, 12), "caller_id": (0, 12), "trace_id": (0, 16), "id": (16,), "digest": (16,),
    "nonce": (12,), "commitment": (0, 32), "tag": (32,), "check": (16,), "successor": (12,), "replaces": (0, 12),
    "callers": (12,), "presented_key": (0, 12), "origin": (32,), "root": (0, 32), "public_key": (32,),
}  # fmt: skip
RANGES = {"pepper": 65535, "version": 65535}  # from 1 to this, in every message
METHODS = {*range(1, 13), 20, 21}
OVER_0 = {"span_seconds", "count", "restored_to", "lost_to", "retire_when_idle_for"}
ALWAYS_THERE = {"actor", "tag", "state", "window"}
NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class Refused(Exception):
    """What was given is not what it should be. The text says where and why."""


def must(holds, why: str) -> None:
    if not holds:
        raise Refused(why)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def check_fields(message) -> None:
    """Holds fields to what is said of their names and enums, in this message and all in it."""
    known = message.DESCRIPTOR.fields_by_number
    odd = [field.field_number for field in UnknownFieldSet(message) if field.field_number in known]
    must(not odd, f"field {odd} is not of its type")
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type and not field.is_repeated:
            if message.HasField(field.name) or field.name in ALWAYS_THERE:
                check_fields(value)
            continue
        there = not field.has_presence or message.HasField(field.name)
        for one in value if field.is_repeated else [value] * there:
            if field.message_type:
                check_fields(one)
            elif field.enum_type:
                there = one in field.enum_type.values_by_number
                zero = one == 0 and field.enum_type.name != "RevokeReason"
                must(there and not zero, f"{field.name} is no value")
            elif isinstance(one, bytes):
                must(
                    len(one) in LENGTHS.get(field.name, (len(one),)),
                    f"{field.name} of {len(one)} bytes",
                )
            elif field.name == "method":
                must(one in METHODS, "method is out of range")
            elif field.name in RANGES:
                must(1 <= one <= RANGES[field.name], f"{field.name} is out of range")
            elif field.name in OVER_0:
                must(one > 0, f"{field.name} is 0")


def check_window(window) -> None:
    outcomes = [total.outcome for total in window.totals]
    must(
        outcomes and outcomes == sorted(set(outcomes)), "window: totals are not in ascending order"
    )
    must(
        all(total.first <= total.last for total in window.totals),
        "window: a total ends before it begins",
    )
    first, last = window.first_position, window.last_position
    must(bool(first) == bool(last) and first <= last, "window: positions are reversed")
    for line in [*window.counts, *window.samples]:
        must(line.outcome in outcomes, "window: an outcome is not among the totals")
        must(line.caller <= len(window.callers), "window: no such caller")
        must(line.action <= len(window.actions), "window: no such action")
    for total in window.totals:
        counted = sum(line.count for line in window.counts if line.outcome == total.outcome)
        must(counted <= total.count, "window: lines add up to more than their total")


def check_conduct(kind: str, event) -> None:
    """What was read, or which calls were refused."""
    reading = kind == "audit_read"
    if event.other:
        bare = not event.caller_id and not event.rpc
        bare = bare and not (event.HasField("named") if reading else event.reason)
        must(bare, f"{kind}: other, and yet who or what")
    else:
        must(event.caller_id or not reading, f"{kind}: no caller")
        must(1 <= len(event.rpc.encode()) <= 128, f"{kind}: rpc has no name")
    must(event.first <= event.last, f"{kind}: ends before it begins")
    for named in [event] if reading else event.samples:
        named = named.named
        for name in ("tenant_id", "account_id"):
            value = getattr(named, name)
            must(not value or NAME.fullmatch(value), f"{name} is no name")
    if reading:
        must(event.calls or event.events, f"{kind}: nothing was read")
        first, last = event.first_position, event.last_position
        must(bool(first) == bool(last) and first <= last, f"{kind}: positions are reversed")
    else:
        must(all(one.source for one in event.sources), f"{kind}: a source without a place")
        told = max(sum(one.count for one in event.sources), len(event.samples))
        must(told <= event.count, f"{kind}: more than count")


def check_record(data: bytes, position: int) -> Record:
    """The record, if the bytes are one at this position by themselves, whatever stands around it."""
    try:
        record = Record.FromString(data)
    except DecodeError as error:
        raise Refused("does not decode") from error
    must(record.format == 1, f"format {record.format}")
    must(record.position == position, f"the record says it is {record.position}")
    kind = record.WhichOneof("event")
    must(kind, "no event that is known")
    account = record.tenant_id, record.account_id
    must(
        account == ("", "") or all(map(NAME.fullmatch, account)),
        "tenant_id or account_id is no name",
    )
    must(not record.key_id or account[0], "key_id without an account")
    must(
        not record.caller_id or not (record.key_id or account[0]),
        "caller_id beside a key or an account",
    )
    must(
        record.HasField("sealed") == bool(record.commitment),
        "sealed or commitment without the other",
    )
    check_fields(record)
    event = getattr(record, kind)
    if kind in ("key_used", "unknown_key_tried"):
        check_window(event.window)
    if kind in ("audit_read", "calls_refused"):
        check_conduct(kind, event)
    if kind == "caller_created":
        must(not (event.spiffe_id and event.san), "caller_created: spiffe_id and san")
    if kind == "log_restored":
        must(event.root and event.generation, "no root or no generation")
    if kind == "loss_resolved":
        replayed = event.resolution == 1
        must(bool(event.root) == replayed, "root does not suit the resolution")
        must(event.first and (event.last or not event.HasField("last")), "a lost position is 0")
    return record


def check_disclosure(record: Record, clear: bytes) -> None:
    if clear:
        must(record.commitment, "a disclosure where nothing was committed to")
        found = sha256(b"keyledger/v1/personal\0", clear)
        must(found == record.commitment, "the disclosure is not what was committed to")


class Key:
    """What is known of a key: its account, what its uses add up to, where it was first revoked."""

    def __init__(self, account: tuple) -> None:
        self.account, self.allowed, self.denied, self.revoked = account, 0, 0, None

    def use(self, used) -> None:
        counts = {total.outcome: total.count for total in used.window.totals}
        must(max(counts) <= 10, "uses: an outcome that is not one of a key")
        allowed = counts.pop(1, 0)
        self.allowed = min(self.allowed + allowed, U64)
        self.denied = min(self.denied + sum(counts.values()), U64)
        must(used.total_allowed == self.allowed, "uses: total_allowed is not the sum")
        must(used.total_denied == self.denied, "uses: total_denied is not the sum")
        last = used.window.last_position
        must(last or not allowed, "uses: allowed at no position")
        must(
            self.revoked is None or last < self.revoked,
            f"uses: allowed after the revocation at {self.revoked}",
        )


class History:
    """Takes records in order and holds each to those before it. Keeps a little for each key and subject, no record."""

    def __init__(self) -> None:
        self.size, self.time, self.last, self.keys, self.disclosed = 0, None, {}, {}, 0

    def add(self, data: bytes, clear: bytes) -> None:
        self.size += 1
        try:
            record = check_record(data, self.size)
            check_disclosure(record, clear)
            self._follow(record)
        except Refused as error:
            raise Refused(f"position {self.size}: {error}") from error
        self.disclosed += bool(clear)

    def _follow(self, record: Record) -> None:
        must(self.time is None or self.time <= record.record_time, "record_time runs backwards")
        self.time = record.record_time
        account = record.tenant_id, record.account_id
        subject = record.key_id or record.caller_id or account
        subject = bool(record.key_id), subject
        must(
            record.previous_position == self.last.get(subject, 0),
            "chain: previous_position is another",
        )
        self.last[subject] = record.position
        kind = record.WhichOneof("event")
        must(record.key_id or kind != "key_used", "uses of no key")
        if record.key_id:
            key = self.keys.setdefault(record.key_id, Key(account))
            must(key.account == account, "the key is another account's")
            if kind == "key_used":
                key.use(record.key_used)
            elif kind == "key_revoked" and key.revoked is None:
                key.revoked = record.position
