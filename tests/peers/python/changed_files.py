"""Changes of the files that a history is in: archives and proof files, part by part."""

import gzip
import tarfile

from cases import Cases, Real, patched, with_list
from history_maker import Signer, header, inclusion, leaf, packed, proof, tar_of, text64


def run(cases: Cases, real: Real, archive: bytes, proof_file: bytes) -> None:
    changed_archives(cases, real, archive)
    changed_members(cases, real)
    changed_proofs(cases, real, proof_file)


def changed_archives(cases: Cases, real: Real, data: bytes) -> None:
    tar = tar_of(real.members)
    assert gzip.decompress(data) == tar, "the test packs as the server does"
    cases.refuses("a byte behind", "the end: bytes behind it", data + b"\0")
    cases.refuses("a second gzip member", "the end: bytes behind it", data + gzip.compress(b"more"))
    cases.refuses(
        "zero bytes behind the end", "the end: bytes behind it", gzip.compress(tar + bytes(512), 1)
    )
    cases.refuses("one zero block", "the end: the archive is cut off", gzip.compress(tar[:-512], 1))
    cases.refuses("no sum of gzip", "the end: the archive is cut off", data[:-1])
    cases.refuses("another sum of gzip", "the end: not gzip, or damaged", data[:-8] + bytes(8))
    cases.refuses("not gzip", "README: not gzip", tar)
    for size in (0, 1, 1000, len(data) // 2, len(data) - 20):
        cases.refuses(f"{size} bytes of the file", "cut off", data[:size])
    at = 0
    for name, content in real.members.items():
        cases.refuses(
            f"cut before {name}", f"{name}: the archive is cut off", gzip.compress(tar[:at], 1)
        )
        at += 512 + len(content) + -len(content) % 512
    padded = bytearray(tar)
    padded[512 + len(real.members["README"])] = 1
    cases.refuses("padding", "README: not padded", gzip.compress(bytes(padded), 1))
    huge = header("README", 8**11 - 1) + bytes(512)
    cases.refuses("a huge member", "README: too long", gzip.compress(huge, 1))


def changed_members(cases: Cases, real: Real) -> None:
    names, items = list(real.members), list(real.members.items())
    for at, name in enumerate(names):
        after = names[at + 1] if at + 1 < len(names) else "the end: another member"
        cases.refuses(f"no {name}", f"{name}: not there", packed(with_list(items, at)))
        foreign = with_list(items, at, items[at], ("foreign", b"x"))
        cases.refuses(f"foreign behind {name}", after, packed(foreign))
        twice = with_list(items, at, items[at], items[at])
        cases.refuses(f"{name} twice", after, packed(twice))
        if at + 1 < len(names):
            turned = [*items[:at], items[at + 1], items[at], *items[at + 2 :]]
            cases.refuses(f"{after} before {name}", f"{name}: not there", packed(turned))
        hashes = name.startswith("tile/") and "entries" not in name
        content = items[at][1]
        for byte in (0, len(content) - 1) if hashes else ():
            flipped = bytearray(content)
            flipped[byte] ^= 1
            word = f"{name}: not the hashes"
            cases.refuses(f"a bit of {name}", word, real.with_member(name, bytes(flipped)))
        for changed in (content[:-32], content + bytes(32)) if hashes else ():
            cases.refuses(f"length of {name}", f"{name}: ", real.with_member(name, changed))
    for name, word in (("checkpoint", "not a signed note"), ("verifier.key", "cut off")):
        cut = real.members[name][:-1]
        cases.refuses(f"{name} cut", f"{name}: {word}", real.with_member(name, cut))
    cases.refuses(
        "another layout",
        "README: not of",
        real.with_member("README", b"keyledger history archive, version 2\n"),
    )
    for field, value in (
        ("mode", 0o600),
        ("uid", 1),
        ("mtime", 1),
        ("type", tarfile.SYMTYPE),
        ("uname", "root"),
        ("linkname", "x"),
    ):
        head = header("checkpoint", len(real.note), **{field: value})
        cases.refuses(
            f"another {field}",
            "checkpoint: not there",
            packed(with_list(items, 1, (head, real.note))),
        )


def changed_proofs(cases: Cases, real: Real, data: bytes) -> None:
    leaves = [leaf(record) for record in real.records]
    at, record, clear, note = 299, real.records[299], real.clears[299], real.note
    hashes, log = inclusion(at, leaves), Signer("log.example")
    assert proof(record, clear, at, hashes, note) == data, "the test makes what the server makes"
    no = lambda name, word, *parts: cases.refuses(name, word, proof(*parts), "proof")
    leads = "inclusion proof: does not lead"
    no("another record", leads, patched(record, event_id=bytes(16)), clear, at, hashes, note)
    no("another position", "says it is 300", record, clear, at + 1, hashes, note)
    no("moved", leads, patched(record, position=301), clear, at + 1, hashes, note)
    no("out of the tree", "index: ", patched(record, position=5000), clear, 4999, hashes, note)
    no("another disclosure", "the disclosure is not", record, real.clears[298], at, hashes, note)
    for which in range(len(hashes)):
        no("another hash", leads, record, clear, at, with_list(hashes, which, bytes(32)), note)
    no("a hash less", "inclusion proof: too short", record, clear, at, hashes[:-1], note)
    no("a hash more", "inclusion proof: too long", record, clear, at, [*hashes, bytes(32)], note)
    no("another log", "not signed by", record, clear, at, hashes, log.checkpoint(leaves))
    no(
        "checkpoint changed",
        "not valid",
        record,
        clear,
        at,
        hashes,
        note.replace(b"\n" + str(len(leaves)).encode(), b"\n1000"),
    )
    cases.accepts("not disclosed", proof(record, b"", at, hashes, note), "proof")
    for old, new, word in (
        (b"@v1", b"@v2", "proof: the first line"),
        (b"extra ", b"other ", "extra: not there"),
        (b"index ", b"other ", "index: not there"),
        (b"index ", b"index 0", "index: not a number"),
        (b"=\n", b"\n", "not base64"),
    ):
        cases.refuses(f"{old} changed", word, data.replace(old, new, 1), "proof")
    first = text64(hashes[0])
    spare = first[:-2] + chr(ord(first[-2]) + 1) + "="
    other = data.replace(first.encode(), spare.encode())
    cases.refuses("a spare bit of base64", "base64 in its one form", other, "proof")
    for size in range(0, len(data), 37):
        word = "checkpoint: " if b"\n\n" in data[:size] else "proof: no checkpoint"
        cases.refuses("cut proof", word, data[:size], "proof")
    cases.refuses("a line behind", "checkpoint: ", data + b"more\n", "proof")
    cases.refuses("a long proof", "proof: too long", data + bytes(1 << 20), "proof")
    more = 140 * (1000 * "x" + "\n")
    no("long checkpoint", "too long", record, clear, at, hashes, log.checkpoint(leaves, more))
    cases.refuses("key of another log", "not signed by", data, "proof", key=log.verifier_key)
    for size in (*range(300, 316), 384, 511, 512, 513):
        hashes = inclusion(at, leaves[:size])
        made = proof(record, clear, at, hashes, log.checkpoint(leaves[:size]))
        cases.accepts(f"in {size} records", made, "proof", key=log.verifier_key)
