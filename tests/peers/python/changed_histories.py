"""Changes of what a history says: records, disclosures, checkpoints, or a log that was rolled back."""

import contextlib
import io

from keyledger.ledger.v1.record_pb2 import Personal, Record

import verify_history
from cases import Cases, Real, patched, with_list
from history_maker import Signer, framed, leaf, packed, sha256, signed, text64


def run(cases: Cases, real: Real, early: Real) -> None:
    changed_records(cases, real)
    changed_disclosures(cases, real)
    changed_checkpoints(cases, real, early)
    odd_checkpoints(cases, real)
    odd_keys(cases)
    rolled_back(cases, real, early)


def changed_records(cases: Cases, real: Real) -> None:
    records, at = real.records, 299
    headers = [Record.FromString(record) for record in records]
    tiles_too = lambda name, word, found: cases.refuses(
        f"{name}, tiles too", word, packed(real.made(found))
    )
    moved = "position 300: the record says it is 301"
    other = with_list(records, at, patched(records[at], event_id=bytes(16)))
    cases.refuses("changed record", "tile/0/001: not the hashes", real.old_tiles(other))
    tiles_too("changed record", "root: not that", other)
    last = len(records) - 1
    other = with_list(records, last, patched(records[last], event_id=bytes(16)))
    tiles_too("changed last record", "root: not that", other)
    dropped = with_list(records, at)
    cases.refuses("dropped record", moved, real.old_tiles(dropped))
    tiles_too("dropped record", moved, dropped)
    tiles_too("dropped last record", "tile/entries/002.p/", records[:-1])
    swapped = [*records[:at], records[at + 1], records[at], *records[at + 2 :]]
    cases.refuses("swapped records", moved, real.old_tiles(swapped))
    tiles_too("swapped records", moved, swapped)
    inserted = with_list(records, at, records[at], records[at])
    clears = with_list(real.clears, at, real.clears[at], real.clears[at])
    word = "position 301: the record says it is 300"
    cases.refuses("inserted record", word, packed(real.made(inserted, clears)))
    name = [name for name in real.members if name.startswith("tile/entries/")][-1]
    more = real.members[name] + framed([patched(records[-1], position=last + 2)])
    cases.refuses("record behind the last", f"{name}: longer", real.with_member(name, more))
    cases.refuses(
        "cut entries", f"{name}: cut off", real.with_member(name, real.members[name][:-1])
    )
    for cut in (1, 5):
        short = with_list(records, at, records[at][:-cut])
        cases.refuses("truncated record", "position 300: ", real.old_tiles(short))
        tiles_too("truncated record", "position 300: ", short)
    empty = with_list(records, at, Record(format=1, position=300).SerializeToString())
    tiles_too("record of no event", "position 300: no event", empty)
    exchanged_updates(cases, real, headers)


def exchanged_updates(cases: Cases, real: Real, headers: list[Record]) -> None:
    """Two updates of a key change places, their positions and times repaired; then the chain, too."""
    records, last = real.records, len(headers) - 1
    updated = lambda at: headers[at].WhichOneof("event") == "key_updated"
    two = next(
        at for at in range(299, last) if updated(at) and updated(headers[at].previous_position - 1)
    )
    one = headers[two].previous_position - 1
    seats = [
        {"position": h.position, "record_time": h.record_time} for h in (headers[one], headers[two])
    ]
    swapped = with_list(records, one, patched(records[two], **seats[0]))
    swapped = with_list(swapped, two, patched(records[one], **seats[1]))
    moved = with_list(real.clears, one, real.clears[two])
    moved = with_list(moved, two, real.clears[one])
    cases.refuses("chain", f"position {one + 1}: chain", packed(real.made(swapped, moved)))
    seats = [
        s | {"previous_position": h.previous_position}
        for s, h in zip(seats, (headers[one], headers[two]))
    ]
    swapped = with_list(records, one, patched(records[two], **seats[0]))
    swapped = with_list(swapped, two, patched(records[one], **seats[1]))
    cases.refuses("all but the root repaired", "root: not that", packed(real.made(swapped, moved)))


def changed_disclosures(cases: Cases, real: Real) -> None:
    for field, value in (("name", "key 7"), ("comment", "found in a mail")):
        held = [Personal.FromString(clear) for clear in real.clears]
        at = next(at for at, clear in enumerate(held) if getattr(clear, field) == value)
        setattr(held[at], field, "another")
        clears = with_list(real.clears, at, held[at].SerializeToString())
        word = f"position {at + 1}: the disclosure is not"
        cases.refuses(f"another {field}", word, packed(real.made(clears=clears)))
    other = next(at for at, clear in enumerate(real.clears) if clear and clear != real.clears[299])
    clears = with_list(real.clears, 299, real.clears[other])
    cases.refuses(
        "another's disclosure", "position 300: the disclosure is", packed(real.made(clears=clears))
    )
    bare = next(
        at for at, record in enumerate(real.records) if not Record.FromString(record).commitment
    )
    clears = with_list(real.clears, bare, real.clears[299])
    word = f"position {bare + 1}: a disclosure where"
    cases.refuses("disclosure of nothing", word, packed(real.made(clears=clears)))


def changed_checkpoints(cases: Cases, real: Real, early: Real) -> None:
    text, _, signature = real.note.decode().partition("\n\n")
    origin, size, top = text.split("\n")
    put = lambda *lines, by=signature: real.with_member(
        "checkpoint", "\n".join([*lines, "", by]).encode()
    )
    invalid, unsigned = (
        "checkpoint: the signature is not valid",
        "checkpoint: not signed by a trusted key",
    )
    cases.refuses("another size", invalid, put(origin, str(int(size) - 1), top))
    cases.refuses("another root", invalid, put(origin, size, text64(bytes(32))))
    cases.refuses("root of 31 bytes", "not 32 bytes", put(origin, size, text64(bytes(31))))
    cases.refuses("a line more", invalid, put(origin, size, top, "more"))
    cases.refuses("another origin", unsigned, put(origin + "x", size, top))
    cases.refuses("leading zero", "the size is not a number", put(origin, "0" + size, top))
    other = early.note.decode().partition("\n\n")[2]
    cases.refuses("another checkpoint's signature", invalid, put(origin, size, top, by=other))
    cases.refuses("no signature", "not a signed note", put(origin, size, top, by=""))
    stranger = Signer(origin)
    word = "not signed by a trusted key"
    cases.refuses("another verifier key", word, packed(real.members), key=stranger.verifier_key)
    cases.refuses(
        "an archive of a stranger", word, signed(real.records, real.clears, stranger, real.readme)
    )
    leaves = [leaf(record) for record in real.records]
    two = real.note + stranger.line(text + "\n").encode()
    cases.accepts("a stranger's line besides", real.with_member("checkpoint", two))
    both = f"{cases.key}\n{stranger.verifier_key}\n"
    broken = real.note + stranger.line(text).encode()
    cases.accepts("an unknown key's line, not valid", real.with_member("checkpoint", broken))
    cases.refuses(
        "a known key's line, not valid",
        invalid,
        real.with_member("checkpoint", broken),
        key=_file(cases, both),
    )
    elsewhere = Signer("elsewhere.example")
    note = (
        stranger.checkpoint(leaves).decode().partition("\n\n")[0]
        + "\n\n"
        + elsewhere.line(text + "\n")
    )
    cases.refuses(
        "a key of another name",
        word,
        real.with_member("checkpoint", note.encode()),
        key=elsewhere.verifier_key,
    )


def odd_checkpoints(cases: Cases, real: Real) -> None:
    """Checkpoints that their log has signed all the same."""
    log = Signer("log.example")
    leaves = [leaf(record) for record in real.records]
    note, unknown = log.checkpoint(leaves), "— x AAAAAAA=\n".encode()
    made = lambda note: packed(real.made(note=note, keys=log.verifier_key + "\n"))
    for name, odd in (
        ("a line more", log.checkpoint(leaves, "more\n")),
        ("100 signatures", note + 99 * unknown),
        ("one signature twice", note + note[note.index("—".encode()) :]),
    ):
        cases.accepts(name, made(odd), key=log.verifier_key)
    for word, odd in (
        ("checkpoint: a control character", log.checkpoint(leaves, "more\t\n")),
        ("checkpoint: not origin, size and root", log.checkpoint(leaves, "\nmore\n")),
        ("checkpoint: too long", log.checkpoint(leaves, 140 * (1000 * "x" + "\n"))),
        ("checkpoint: not UTF-8", note + b"\xff\n"),
        ("checkpoint: too many signatures", note + 100 * unknown),
        ("checkpoint: not a signature line", note + b"more\n"),
        ("checkpoint: not a signature line", note + "— x+y AAAAAAA=\n".encode()),
        ("checkpoint: a signature is too short", note + "— x AAAAAA==\n".encode()),
        ("checkpoint: a signature is not base64", note + "— x AAAA*AA=\n".encode()),
        ("checkpoint: of no record", log.checkpoint([])),
        (
            "checkpoint: the size is not a number",
            note.replace(b"\n", b"\n9223372036854775808\n", 1),
        ),
    ):
        cases.refuses("odd checkpoint", word, made(odd), key=log.verifier_key)
    two = f"{log.verifier_key}\n{Signer('log.example').verifier_key}\n"
    unsigned = packed(real.made(note=note, keys=two))
    cases.refuses(
        "a key that has not signed", "verifier.key: not who", unsigned, key=log.verifier_key
    )


def odd_keys(cases: Cases) -> None:
    name, _, rest = cases.key.partition("+")
    witness = b"\x04" + bytes(32)
    key_id = sha256(name.encode() + b"\n" + witness)[:4].hex()
    for text, word in (
        (f"{name}+00000000{rest[8:]}", "the key id is another key's"),
        (f"{name}+{key_id}+{text64(witness)}", "not an Ed25519 key"),
        (f"{name}+{rest[:-4]}", "is not 33 bytes"),
        (f" {name}+{rest}", "not of the form"),
        (f"{cases.key}\n+", "not of the form"),
        (name, "No such file"),
    ):
        arguments = ["archive", str(cases.directory / "archive"), "--verifier-key", text]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                verify_history.main(arguments)
            except SystemExit as end:
                assert end.code == 2 and word in said.getvalue(), said.getvalue()
            else:
                raise AssertionError(f"taken for a verifier key: {text}")


def _file(cases: Cases, text: str) -> str:
    (cases.directory / "keys").write_text(text)
    return str(cases.directory / "keys")


def rolled_back(cases: Cases, real: Real, early: Real) -> None:
    under = early.members | {"checkpoint": real.note}
    cases.refuses("old records, new checkpoint", "tile/entries/002", packed(under))
    under = real.members | {"checkpoint": early.note}
    cases.refuses("new records, old checkpoint", "tile/entries/002", packed(under))
    cases.refuses(
        "an older archive", "rolled back: the earlier", packed(early.members), earlier=real.note
    )
    log = Signer("log.example")
    leaves = [leaf(record) for record in real.records]
    other = with_list(real.records, 49, patched(real.records[49], event_id=bytes(16)))
    clears = real.clears
    for size in (0, 1, 49, 255, 256, 257, len(leaves)):
        note = log.checkpoint(leaves[:size])
        arguments = {"key": log.verifier_key, "earlier": note}
        cases.accepts(
            f"continues {size}", signed(real.records, clears, log, real.readme), **arguments
        )
        if size > 49:
            word = "rolled back: the earlier checkpoint is not continued"
            cases.refuses(
                f"does not continue {size}",
                word,
                signed(other, clears, log, real.readme),
                **arguments,
            )
    cases.refuses(
        "unsigned earlier",
        "earlier checkpoint: ",
        packed(real.members),
        earlier=log.checkpoint(leaves),
    )
    text = f"log.example\n0\n{text64(bytes(32))}\n"
    made = signed(real.records, clears, log, real.readme)
    empty = f"{text}\n{log.line(text)}".encode()
    word = "rolled back: the earlier checkpoint is not continued"
    cases.refuses("another root of nothing", word, made, key=log.verifier_key, earlier=empty)
    other = Signer("other.example")
    both = _file(cases, f"{log.verifier_key}\n{other.verifier_key}\n")
    note = other.checkpoint(leaves)
    cases.refuses("another log's", "of another origin", made, key=both, earlier=note)
