"""Holds verify_history.py to a real server's exports: it accepts them, and refuses every change of them.

Usage: test_verify_history.py KEYLEDGER_BINARY        Exits 0 if every case went as it should.

A case that has to be refused names a part of the refusal, so that none is refused for another reason.
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from google.protobuf import duration_pb2, field_mask_pb2
from keyledger.ledger.v1.record_pb2 import Record
from keyledger.v1 import account_pb2, account_service_pb2, key_pb2, key_service_pb2 as keys

import changed_files
import changed_histories
import made_logs
import verify_history
from cases import Cases, Real, with_list
from history_maker import leaf, packed, root, tiles
from server import Server
from tour import ACCOUNT, TENANT, Client, create_key


def export(binary: Path, server: Server, data_dir: Path, *arguments: str) -> bytes:
    file = data_dir.parent / "exported"
    command = [binary, "audit", "export", *arguments, str(file), "--force"]
    command += ["--server", f"http://{server.grpc}", "--data-dir", str(data_dir)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return file.read_bytes()


def many_records(admin: Client) -> list[tuple[str, str]]:
    """An account with 200 keys, each with a new name, some revoked. Returns ids and secrets of those that are not."""
    account = account_pb2.Account(
        tenant_id=TENANT, account_id=ACCOUNT, plan="enterprise", permissions=["reports:*"]
    )
    admin.call("PutAccount", account_service_pb2.PutAccountRequest(account=account))

    def life(number: int) -> tuple[str, str]:
        key_id, secret = create_key(admin, f"clé {number}")
        mask = field_mask_pb2.FieldMask(paths=["name"])
        for name in f"key {number}", f"key {number} again":
            key = key_pb2.Key(key_id=key_id, name=name)
            admin.call("UpdateKey", keys.UpdateKeyRequest(key=key, update_mask=mask))
        if number >= 150:
            request = keys.RevokeKeyRequest(key_id=key_id, comment=f"not needed: {number}")
            admin.call("RevokeKey", request)
        return key_id, secret

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(life, range(200)))[:150]


def history(binary: Path, data_dir: Path) -> dict[str, bytes]:
    """What a server exports of a history with every turn that a verifier has a rule for."""
    server = Server(binary, data_dir)
    credential = (data_dir / "admin.credential").read_text().removesuffix("\n")
    admin = Client(server.grpc, credential)
    made = many_records(admin)
    exported = {"earlier": export(binary, server, data_dir, "--archive")}
    for _, secret in made[:20]:
        assert admin.verdict(secret, "reports:read") == "ALLOWED"
        assert admin.verdict(secret, "invoices:read") == "PERMISSION_MISSING"
    assert admin.verdict("kl_live_nonsense") == "MALFORMED_KEY"
    overlap = duration_pb2.Duration(seconds=3600)
    admin.call("RotateKey", keys.RotateKeyRequest(key_id=made[0][0], overlap=overlap))
    for key_id, secret in made[1:11]:
        admin.call("RevokeKey", keys.RevokeKeyRequest(key_id=key_id, comment="found in a mail"))
        assert admin.verdict(secret) == "REVOKED"
    # Uses go on record when the window ends or the server stops: those of before the revocations, behind these.
    assert server.stop() == 0
    server = Server(binary, data_dir)
    admin = Client(server.grpc, credential)
    for _, secret in made[:10]:
        admin.verdict(secret)
    assert server.stop() == 0
    server = Server(binary, data_dir)
    exported["archive"] = export(binary, server, data_dir, "--archive")
    exported["bare"] = export(binary, server, data_dir, "--without-disclosures", "--archive")
    exported["proof"] = export(binary, server, data_dir, "--position", "300", "--proof")
    assert server.stop() == 0
    return exported


def accepted(cases: Cases, exported: dict[str, bytes], real: Real, early: Real) -> None:
    kinds = {Record.FromString(record).WhichOneof("event") for record in real.records}
    assert kinds >= {"key_used", "key_revoked", "key_rotated", "key_updated"}, kinds
    revoked = {
        one.key_id
        for one in map(Record.FromString, real.records)
        if one.WhichOneof("event") == "key_revoked"
    }
    after = [one for one in map(Record.FromString, real.records) if one.key_id in revoked][
        -1
    ].key_used
    assert after.total_allowed and after.total_denied, "uses are on record behind the revocation"
    assert len(early.records) > 512 and len(real.records) > len(early.records)
    assert list(real.made().items()) == list(real.members.items()), (
        "the test makes what the server makes"
    )
    cases.accepts(
        "the server's archive", exported["archive"], word=f"{len(real.records)} records of "
    )
    cases.accepts("without disclosures", exported["bare"], word=" 0 disclosed")
    cases.accepts("an earlier one", exported["earlier"])
    cases.accepts("that continues one", exported["archive"], earlier=early.note)
    cases.accepts("that continues itself", exported["archive"], earlier=real.note)
    at = next(at for at, clear in enumerate(real.clears) if clear)
    cases.accepts("one not disclosed", packed(real.made(clears=with_list(real.clears, at, b""))))
    cases.accepts("the server's proof", exported["proof"], "proof", word="record 300, ")
    command = [sys.executable, verify_history.__file__, "archive"]
    for file, code in (("archive", 0), ("earlier", 0), ("torn", 1), ("absent", 2)):
        arguments = [str(cases.directory / file), "--verifier-key", cases.key]
        assert subprocess.run(command + arguments, capture_output=True).returncode == code, file


def tree_agrees() -> None:
    """The verifier's tree and the one here, over enough leaves for a whole tile of hashes of tiles."""
    leaves = [leaf(number.to_bytes(4, "big")) for number in range(65536 + 256 + 3)]
    whole, partial = tiles(leaves)
    tree, found = verify_history.Tree(), []
    for one in leaves:
        tree.add(one)
        found += [
            (verify_history.path(f"tile/{level}", n, 256), data)
            for level, n, data in tree.whole_tiles()
        ]
    assert found == [tile for bundle in sorted(whole) for tile in whole[bundle]]
    assert [b"".join(hashes) for hashes in tree.tiles if hashes] == [data for _, data in partial]
    assert tree.root() == root(leaves)
    assert verify_history.path("tile/2", 1234067, 5) == "tile/2/x001/x234/067.p/5"


def main() -> None:
    tree_agrees()
    with tempfile.TemporaryDirectory() as directory:
        binary, directory = Path(sys.argv[1]).resolve(), Path(directory)
        exported = history(binary, directory / "data")
        for name, data in exported.items():
            (directory / name).write_bytes(data)
        (directory / "torn").write_bytes(exported["archive"][:-1])
        real, early = Real(exported["archive"]), Real(exported["earlier"])
        key = real.members["verifier.key"].decode().removesuffix("\n")
        cases = Cases(binary, directory, key)
        accepted(cases, exported, real, early)
        changed_histories.run(cases, real, early)
        changed_files.run(cases, real, exported["archive"], exported["proof"])
        made_logs.run(cases, real.readme)
        print(f"history: ok, {cases.accepted} accepted, {cases.refused} refused")


if __name__ == "__main__":
    main()
