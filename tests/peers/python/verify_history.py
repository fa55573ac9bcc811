"""A second verifier of keyledger's history, written from docs/history-format.md and record.proto alone.

Usage: verify_history.py archive FILE --verifier-key TEXT|FILE [--earlier CHECKPOINT_FILE]
       verify_history.py proof FILE --verifier-key TEXT|FILE

Needs `cryptography`, `protobuf` and the code that protoc makes of record.proto, on PYTHONPATH; run.sh shows how.
Says one line. Exits 0 if everything is right, 1 if it is refused, 2 if it could not be read or asked.
"""

import argparse
import base64
import re
import sys
import tarfile
import unicodedata
import zlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from history_rules import History, Refused, check_disclosure, check_record, must, sha256

BUNDLE = 256  # records in a bundle, hashes in a tile
TEXT_BYTES = 1 << 17  # of a checkpoint, and here of README and verifier.key, too
NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01", left, right)


def from_base64(text: str, what: str, length: int | None = None) -> bytes:
    """Standard base64 with padding, in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(f"{what} is not base64") from error
    must(base64.b64encode(data).decode() == text, f"{what} is not base64 in its one form")
    must(length is None or len(data) == length, f"{what} is not {length} bytes")
    return data


def is_name(text: str) -> bool:
    odd = any(c.isspace() or c == "+" or unicodedata.category(c) == "Cc" for c in text)
    return 1 <= len(text.encode()) <= 255 and not odd


def verifier_keys(text: str) -> dict:
    """Public keys by name and key id, from verifier keys, one a line."""
    keys = {}
    for line in text.removesuffix("\n").split("\n"):
        parts = line.split("+", 2)
        must(len(parts) == 3 and is_name(parts[0]), "verifier key: not of the form name+id+key")
        data = from_base64(parts[2], "verifier key", 33)
        must(data[0] == 1, "verifier key: not an Ed25519 key")
        key_id = sha256(parts[0].encode(), b"\n", data)[:4]
        must(parts[1] == key_id.hex(), "verifier key: the key id is another key's")
        keys[parts[0], key_id] = Ed25519PublicKey.from_public_bytes(data[1:])
    return keys


class Checkpoint:
    """A checkpoint that at least one of the keys has signed: `origin`, `size`, `root`, and who has `signed`."""

    def __init__(self, note: bytes, keys: dict, what: str = "checkpoint") -> None:
        must(len(note) <= TEXT_BYTES, f"{what}: too long")
        must(all(byte >= 32 or byte == 10 for byte in note), f"{what}: a control character")
        text, cut, signatures = decoded(note, what).rpartition("\n\n")
        must(cut and signatures.endswith("\n"), f"{what}: not a signed note")
        lines = text.split("\n")
        must(len(lines) >= 3 and all(lines), f"{what}: not origin, size and root")
        self.origin, size = lines[:2]
        must(NUMBER.fullmatch(size) and int(size) < 1 << 63, f"{what}: the size is not a number")
        self.size, self.root = int(size), from_base64(lines[2], f"{what}: the root", 32)
        self.signed = set()
        lines = signatures.removesuffix("\n").split("\n")
        must(len(lines) <= 100, f"{what}: too many signatures")
        for line in lines:
            self._check(line, text.encode() + b"\n", keys, what)
        must(self.signed, f"{what}: not signed by a trusted key of its origin")

    def _check(self, line: str, text: bytes, keys: dict, what: str) -> None:
        parts = line.split(" ")
        must(
            len(parts) == 3 and parts[0] == "—" and is_name(parts[1]),
            f"{what}: not a signature line",
        )
        data = from_base64(parts[2], f"{what}: a signature")
        must(len(data) > 4, f"{what}: a signature is too short")
        who = parts[1], data[:4]
        if who not in keys or parts[1] != self.origin:
            return
        try:
            keys[who].verify(data[4:], text)
        except InvalidSignature as error:
            raise Refused(f"{what}: the signature is not valid") from error
        self.signed.add(who)


def decoded(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{what}: not UTF-8") from error


class Tree:
    """The tree over leaf hashes that come in order: its root, and the tiles that are not whole yet."""

    def __init__(self) -> None:
        self.size, self.peaks, self.tiles = 0, [], [[]]

    def add(self, leaf: bytes) -> None:
        self.tiles[0].append(leaf)
        size = self.size
        while size & 1:
            leaf, size = node(self.peaks.pop(), leaf), size >> 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        root = self.peaks[-1] if self.peaks else sha256()
        for peak in reversed(self.peaks[:-1]):
            root = node(peak, root)
        return root

    def whole_tiles(self):
        """Takes off each tile that is whole: level, number, bytes."""
        level = 0
        while len(self.tiles[level]) == BUNDLE:
            hashes = self.tiles[level]
            yield level, (self.size >> 8 * (level + 1)) - 1, b"".join(hashes)
            self.tiles[level] = []
            while len(hashes) > 1:
                hashes = [node(*pair) for pair in zip(hashes[::2], hashes[1::2])]
            level += 1
            if level == len(self.tiles):
                self.tiles.append([])
            self.tiles[level] += hashes


class Archive:
    """The members of an archive, one after the other, each of which the caller has to expect."""

    def __init__(self, file) -> None:
        self._file, self._zlib, self._held = file, zlib.decompressobj(31), b""

    def _some(self, size: int, what: str) -> bytes:
        data = self._held or self._file.read(1 << 16)
        must(data and not self._zlib.eof, f"{what}: the archive is cut off")
        try:
            some = self._zlib.decompress(data, size)
        except zlib.error as error:
            raise Refused(f"{what}: not gzip, or damaged") from error
        self._held = self._zlib.unconsumed_tail
        return some

    def _read(self, size: int, what: str) -> bytes:
        parts = []
        while size:
            parts.append(self._some(size, what))
            size -= len(parts[-1])
        return b"".join(parts)

    def member(self, name: str, most: int) -> bytes:
        header = self._read(512, name)
        digits = header[124:135]
        must(
            re.fullmatch(rb"[0-7]{11}", digits), f"{name}: not there; another member or none comes"
        )
        wanted = tarfile.TarInfo(name)
        wanted.size = int(digits, 8)
        same = header == wanted.tobuf(tarfile.USTAR_FORMAT)
        must(
            same,
            f"{name}: not there; {header[:100].rstrip(bytes(1))!r} comes or its header is another",
        )
        must(wanted.size <= most, f"{name}: too long")
        data = self._read(wanted.size, name)
        must(not any(self._read(-wanted.size % 512, name)), f"{name}: not padded with zero bytes")
        return data

    def end(self) -> None:
        must(not any(self._read(1024, "the end")), "the end: another member, where none may come")
        while not self._zlib.eof:
            must(not self._some(1, "the end"), "the end: bytes behind it")
        must(not self._zlib.unused_data and not self._file.read(1), "the end: bytes behind it")


def path(kind: str, number: int, width: int) -> str:
    """The name of a bundle or tile with so many records or hashes."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    partial = f".p/{width}" if width < BUNDLE else ""
    return f"{kind}/{'/'.join(['x' + group for group in groups[:-1]] + groups[-1:])}{partial}"


def framed(data: bytes, count: int, what: str) -> list[bytes]:
    """So many pieces, each behind its length in two bytes, and nothing else."""
    pieces, at = [], 0
    for _ in range(count):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        must(len(data) >= end, f"{what}: cut off")
        pieces.append(data[at + 2 : end])
        at = end
    must(at == len(data), f"{what}: longer than what it holds")
    return pieces


def verify_archive(file, keys: dict, earlier: Checkpoint | None) -> str:
    archive, history, tree = Archive(file), History(), Tree()
    readme = archive.member("README", TEXT_BYTES)
    must(readme.startswith(b"keyledger history archive, version 1\n"), "README: not of this layout")
    note = archive.member("checkpoint", TEXT_BYTES)
    checkpoint = Checkpoint(note, keys)
    lines = decoded(archive.member("verifier.key", TEXT_BYTES), "verifier.key")
    must(lines.endswith("\n"), "verifier.key: cut off")
    named = verifier_keys(lines)
    signed = Checkpoint(note, named, "verifier.key on the checkpoint").signed
    must(signed == set(named), "verifier.key: not who signed the checkpoint")
    must(checkpoint.size >= 1, "checkpoint: of no record")
    if earlier:
        must(earlier.origin == checkpoint.origin, "earlier checkpoint: of another origin")
        must(
            earlier.size <= checkpoint.size,
            "rolled back: the earlier checkpoint is of more records",
        )
        must(
            earlier.size or earlier.root == tree.root(),
            "rolled back: the earlier checkpoint is not continued",
        )
    for number in range(-(-checkpoint.size // BUNDLE)):
        width = min(checkpoint.size - number * BUNDLE, BUNDLE)
        entries, disclosures = (
            path("tile/entries", number, width),
            path("disclosures", number, width),
        )
        records = framed(archive.member(entries, width * 65537), width, entries)
        clears = framed(archive.member(disclosures, width * 65537), width, disclosures)
        for record, clear in zip(records, clears):
            history.add(record, clear)
            tree.add(sha256(b"\0", record))
            if earlier and earlier.size == tree.size:
                must(
                    earlier.root == tree.root(),
                    "rolled back: the earlier checkpoint is not continued",
                )
        for level, tile, hashes in tree.whole_tiles():
            compare_tile(archive, path(f"tile/{level}", tile, BUNDLE), hashes)
    for level, hashes in enumerate(tree.tiles):
        if hashes:
            name = path(f"tile/{level}", checkpoint.size >> 8 * (level + 1), len(hashes))
            compare_tile(archive, name, b"".join(hashes))
    archive.end()
    must(tree.root() == checkpoint.root, "root: not that of the checkpoint")
    return f"{checkpoint.size} records of {checkpoint.origin}, {history.disclosed} disclosed"


def compare_tile(archive: Archive, name: str, hashes: bytes) -> None:
    must(archive.member(name, len(hashes)) == hashes, f"{name}: not the hashes of the records")


def root_by_proof(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.3.2."""
    must(index < size, "index: not in a tree of this size")
    fn, sn, root = index, size - 1, leaf
    for sibling in proof:
        must(sn, "inclusion proof: too long")
        if fn & 1 or fn == sn:
            root = node(sibling, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node(root, sibling)
        fn, sn = fn >> 1, sn >> 1
    must(not sn, "inclusion proof: too short")
    return root


def verify_proof(file, keys: dict, _earlier=None) -> str:
    text = file.read(1 << 20)
    must(not file.read(1), "proof: too long")
    head, cut, note = text.partition(b"\n\n")
    must(cut, "proof: no checkpoint")
    lines = decoded(head, "proof").split("\n")
    must(lines[0] == "c2sp.org/tlog-proof@v1", "proof: the first line is not tlog-proof's")
    must(len(lines) > 1 and lines[1].startswith("extra "), "extra: not there")
    must(len(lines) > 2 and lines[2].startswith("index "), "index: not there")
    index = lines[2].removeprefix("index ")
    must(NUMBER.fullmatch(index), "index: not a number")
    index = int(index)
    hashes = [from_base64(line, "inclusion proof: a hash", 32) for line in lines[3:]]
    checkpoint = Checkpoint(note, keys)
    extra = from_base64(lines[1].removeprefix("extra "), "extra")
    data, clear = framed(extra, 2, "extra")
    record = check_record(data, index + 1)
    check_disclosure(record, clear)
    root = root_by_proof(index, checkpoint.size, sha256(b"\0", data), hashes)
    must(root == checkpoint.root, "inclusion proof: does not lead to the root")
    return f"record {index + 1}, {record.WhichOneof('event')}, is one of {checkpoint.size} of {checkpoint.origin}"


def text_or_file(value: str) -> str:
    return value if "+" in value and not Path(value[:255]).is_file() else Path(value).read_text()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Verifies keyledger's history without keyledger.")
    parser.add_argument("what", choices=["archive", "proof"])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--verifier-key", required=True, help="the trusted key or keys, or a file with them"
    )
    parser.add_argument(
        "--earlier", type=Path, help="of an archive: a checkpoint that it has to continue"
    )
    args = parser.parse_args(arguments)
    if args.earlier and args.what == "proof":
        parser.error("--earlier goes with an archive")
    try:
        keys = verifier_keys(text_or_file(args.verifier_key))
    except (Refused, OSError, UnicodeDecodeError) as error:
        parser.error(f"--verifier-key: {error}")
    try:
        earlier = args.earlier and Checkpoint(args.earlier.read_bytes(), keys, "earlier checkpoint")
        verify = verify_archive if args.what == "archive" else verify_proof
        with args.file.open("rb") as file:
            print(f"verified: {verify(file, keys, earlier)}")
    except Refused as error:
        print(f"REFUSED: {error}")
        return 1
    except OSError as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
