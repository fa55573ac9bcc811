"""Runs the verifiers on files made up by a test, and takes apart what a server has exported."""

import contextlib
import io
import subprocess
from pathlib import Path

from keyledger.ledger.v1.record_pb2 import Record

import verify_history
from history_maker import Readme, archive, members_of, packed, pieces_of


class Cases:
    """Runs the verifier on files made up here and counts."""

    def __init__(self, binary: Path, directory: Path, key: str) -> None:
        self.binary, self.directory, self.key = binary, directory, key
        self.accepted = self.refused = 0

    def _run(self, data: bytes, what: str, key: str, earlier: bytes | None):
        file, note = self.directory / "case", self.directory / "case.checkpoint"
        file.write_bytes(data)
        arguments = [what, str(file), "--verifier-key", key or self.key]
        if earlier is not None:
            note.write_bytes(earlier)
            arguments += ["--earlier", str(note)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = verify_history.main(arguments)
        assert said.getvalue().count("\n") == 1, f"one line: {said.getvalue()}"
        if earlier is None:
            self._ours(arguments, code)
        return code, said.getvalue()

    def _ours(self, arguments: list[str], code: int) -> None:
        """keyledger's own verifier, which takes no earlier checkpoint here, has to come to the same verdict."""
        what, *others = arguments
        command = [self.binary, "audit", "verify", f"--{what}", *others]
        ours = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ours.returncode == code, f"{code}, but by keyledger: {ours.stdout}{ours.stderr}"

    def accepts(
        self, name: str, data: bytes, what="archive", key="", earlier=None, word=""
    ) -> None:
        code, said = self._run(data, what, key, earlier)
        assert code == 0 and said.startswith("verified: ") and word in said, f"{name}: {said}"
        self.accepted += 1

    def refuses(
        self,
        name: str,
        words: str | tuple,
        data: bytes,
        what="archive",
        key="",
        earlier=None,
    ) -> None:
        code, said = self._run(data, what, key, earlier)
        words = (words,) if isinstance(words, str) else words
        right = code == 1 and said.startswith("REFUSED: ") and all(word in said for word in words)
        assert right, f"{name}: expected a refusal that says {words}, found {code}: {said}"
        self.refused += 1


def patched(record: bytes, **fields) -> bytes:
    """The record with other fields, encoded anew."""
    changed = Record.FromString(record)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed.SerializeToString()


def with_list(values: list, index: int, *new) -> list:
    return [*values[:index], *new, *values[index + 1 :]]


class Real:
    """The server's archive, taken apart, and other archives made of it under its checkpoint."""

    def __init__(self, data: bytes) -> None:
        self.members = members_of(data)
        self.records = pieces_of(self.members, "tile/entries/")
        self.clears = pieces_of(self.members, "disclosures/")
        self.note, self.readme = self.members["checkpoint"], Readme(self.members)

    def made(self, records=None, clears=None, note=None, keys=None) -> dict[str, bytes]:
        """The members, every tile computed anew."""
        parts = records or self.records, clears or self.clears, note or self.note
        keys = keys or self.members["verifier.key"].decode()
        return archive(*parts, keys, self.readme.of(note) if note else self.members["README"])

    def old_tiles(self, records=None, clears=None) -> bytes:
        """The archive with entries and disclosures of these, lengths repaired, all else as it was."""
        made, members = self.made(records, clears), dict(self.members)
        for kind in "tile/entries/", "disclosures/":
            names = [name for name in members if name.startswith(kind)]
            members |= zip(names, [data for name, data in made.items() if name.startswith(kind)])
        return packed(members)

    def with_member(self, name: str, data: bytes) -> bytes:
        return packed(self.members | {name: data})
