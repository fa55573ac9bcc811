"""Makes archives, proofs and signed checkpoints of any records, right or wrong, and takes archives apart.

The tree here is written as RFC 6962 defines it, apart from the verifier's.
"""

import base64
import gzip
import hashlib
import io
import tarfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def leaf(record: bytes) -> bytes:
    return sha256(b"\0" + record)


def split(size: int) -> int:
    """The largest power of two below a size above 1."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    left = split(len(leaves))
    return sha256(b"\x01" + root(leaves[:left]) + root(leaves[left:]))


def inclusion(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    left = split(len(leaves))
    if index < left:
        return [*inclusion(index, leaves[:left]), root(leaves[left:])]
    return [*inclusion(index - left, leaves[left:]), root(leaves[:left])]


class Signer:
    """A log's signing key."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._key = Ed25519PrivateKey.generate()
        public = b"\x01" + self._key.public_key().public_bytes_raw()
        self._id = sha256(origin.encode() + b"\n" + public)[:4]
        self.verifier_key = f"{origin}+{self._id.hex()}+{text64(public)}"

    def line(self, text: str) -> str:
        """The signature line for a text."""
        return f"— {self.origin} {text64(self._id + self._key.sign(text.encode()))}\n"

    def checkpoint(self, leaves: list[bytes], more: str = "") -> bytes:
        text = f"{self.origin}\n{len(leaves)}\n{text64(root(leaves))}\n{more}"
        return f"{text}\n{self.line(text)}".encode()


def framed(pieces: list[bytes]) -> bytes:
    return b"".join(len(piece).to_bytes(2, "big") + piece for piece in pieces)


def unframed(data: bytes) -> list[bytes]:
    pieces = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        pieces.append(data[2:end])
        data = data[end:]
    return pieces


def members_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def pieces_of(members: dict[str, bytes], kind: str) -> list[bytes]:
    """All records or all disclosures."""
    return [
        one for name, data in members.items() if name.startswith(kind) for one in unframed(data)
    ]


def header(name: str, size: int, **fields) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.USTAR_FORMAT)


def tar_of(members) -> bytes:
    """The tar of names and bytes, or of a header and bytes where the header is made by hand."""
    parts = []
    for name, data in members.items() if isinstance(members, dict) else members:
        head = name if isinstance(name, bytes) else header(name, len(data))
        parts += [head, data, bytes(-len(data) % 512)]
    return b"".join(parts) + bytes(1024)


def packed(members) -> bytes:
    return gzip.compress(tar_of(members), 1, mtime=0)


def tiles(
    leaves: list[bytes],
) -> tuple[dict[int, list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    """Whole tiles by the bundle they come behind, and the partial ones."""
    whole, partial, level = {}, [], 0
    while leaves:
        for number in range(len(leaves) // 256):
            data = b"".join(leaves[256 * number : 256 * number + 256])
            bundle = (number + 1) * 256**level - 1
            whole.setdefault(bundle, []).append((f"tile/{level}/{number:03}", data))
        rest = leaves[len(leaves) // 256 * 256 :]
        if rest:
            partial.append((f"tile/{level}/{len(leaves) // 256:03}.p/{len(rest)}", b"".join(rest)))
        leaves = [root(leaves[at : at + 256]) for at in range(0, len(leaves) - 255, 256)]
        level += 1
    return whole, partial


class Readme:
    """Writes a README as that of an archive, but for another checkpoint."""

    def __init__(self, members: dict[str, bytes]) -> None:
        self._text, self._said = members["README"], members["checkpoint"].split(b"\n")[:3]

    def of(self, note: bytes) -> bytes:
        text = self._text
        for old, new in zip(self._said, note.split(b"\n")):
            assert text.count(b"  " + old) == 1, old
            text = text.replace(b"  " + old, b"  " + new)
        return text


def archive(
    records: list[bytes], clears: list[bytes], note: bytes, keys: str, readme: bytes
) -> dict[str, bytes]:
    """The members of an archive of so few records that names have three digits."""
    members = {"README": readme, "checkpoint": note, "verifier.key": keys.encode()}
    whole, partial = tiles([leaf(record) for record in records])
    for bundle, at in enumerate(range(0, len(records), 256)):
        some = records[at : at + 256]
        name = f"{bundle:03}" + (f".p/{len(some)}" if len(some) < 256 else "")
        members[f"tile/entries/{name}"] = framed(some)
        members[f"disclosures/{name}"] = framed(clears[at : at + 256])
        members.update(whole.get(bundle, []))
    members.update(partial)
    return members


def signed(records: list[bytes], clears: list[bytes], signer: Signer, readme: Readme) -> bytes:
    """A whole archive with a checkpoint of its own."""
    note = signer.checkpoint([leaf(record) for record in records])
    return packed(archive(records, clears, note, signer.verifier_key + "\n", readme.of(note)))


def proof(record: bytes, clear: bytes, index: int, hashes: list[bytes], note: bytes) -> bytes:
    lines = ["c2sp.org/tlog-proof@v1", f"extra {text64(framed([record, clear]))}", f"index {index}"]
    return "\n".join([*lines, *map(text64, hashes), "", ""]).encode() + note
