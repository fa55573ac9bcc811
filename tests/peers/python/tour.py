"""The README's tour through a client generated from the protos, against the real binary.

Usage: tour.py KEYLEDGER_BINARY        Exits 0 if every step went as the tour says.
"""

import http.client
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from guarded_service import serve
from keyledger.v1 import (
    account_pb2,
    account_service_pb2,
    account_service_pb2_grpc,
    admin_service_pb2,
    admin_service_pb2_grpc,
    authentication_pb2 as auth,
    caller_pb2,
    key_pb2,
    key_service_pb2 as keys,
    key_service_pb2_grpc,
    usage_pb2,
    usage_service_pb2 as usage,
    usage_service_pb2_grpc,
)
from keyledger_guard import Keyledger
from server import Server

TENANT, ACCOUNT = "acme", "billing"


class Client:
    """Every service, called with one credential."""

    def __init__(self, address: str, credential: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.metadata = [("authorization", f"Bearer {credential}")]
        self._keys = key_service_pb2_grpc.KeyServiceStub(self.channel)
        self._accounts = account_service_pb2_grpc.AccountServiceStub(self.channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)
        self._usage = usage_service_pb2_grpc.UsageServiceStub(self.channel)

    def call(self, rpc: str, request):
        for stub in (self._keys, self._accounts, self._admin, self._usage):
            if hasattr(stub, rpc):
                return getattr(stub, rpc)(request, metadata=self.metadata, timeout=10)
        raise AttributeError(rpc)

    def verdict(self, api_key: str, *permissions: str) -> str:
        answer = self.call(
            "Authenticate",
            auth.AuthenticateRequest(api_key=api_key, required_permissions=permissions),
        )
        if answer.outcome == auth.OUTCOME_ALLOWED:
            return "ALLOWED"
        assert answer.outcome == auth.OUTCOME_DENIED, answer
        return auth.DenialReason.Name(answer.denial_reason).removeprefix("DENIAL_REASON_")

    def set_status(self, status: int) -> None:
        account = account_pb2.Account(tenant_id=TENANT, account_id=ACCOUNT, status=status)
        mask = field_mask_pb2.FieldMask(paths=["status"])
        request = account_service_pb2.PutAccountRequest(account=account, update_mask=mask)
        self.call("PutAccount", request)


def step(text: str) -> None:
    print(f"  {text}", flush=True)


def expect(found, wanted) -> None:
    if found != wanted:
        raise AssertionError(f"expected {wanted!r}, found {found!r}")


def reason_of(call) -> str:
    """The machine-readable reason of the error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        for detail in rpc_status.from_call(error).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                expect(info.domain, "keyledger")
                return info.reason
        raise AssertionError(f"no ErrorInfo in {error}") from error
    raise AssertionError("the call was not refused")


def create_account(admin: Client) -> None:
    account = account_pb2.Account(
        tenant_id=TENANT,
        account_id=ACCOUNT,
        display_name="Billing",
        plan="standard",
        permissions=["reports:*"],
    )
    admin.call("PutAccount", account_service_pb2.PutAccountRequest(account=account))


def create_key(admin: Client, name: str):
    request = keys.CreateKeyRequest(
        tenant_id=TENANT, account_id=ACCOUNT, name=name, environment="live"
    )
    answer = admin.call("CreateKey", request)
    return answer.key.key_id, answer.secret


def get(port: int, path: str, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def first_half(admin: Client, address: str) -> tuple[str, str, list[str]]:
    """Everything up to the revocation. Returns key id, secret, and every secret seen."""
    step("put an account and create a key")
    create_account(admin)
    key_id, secret = create_key(admin, "ci")
    assert secret.startswith("kl_live_"), "a live key begins with kl_live_"

    step("authenticate it as a service with a credential of its own")
    caller = admin.call(
        "CreateCaller",
        admin_service_pb2.CreateCallerRequest(
            name="reports", owner="team-reports", roles=[caller_pb2.ROLE_AUTHENTICATOR]
        ),
    )
    service = Client(address, caller.credential)
    expect(service.verdict(secret, "reports:read"), "ALLOWED")
    expect(service.verdict(secret, "invoices:write"), "PERMISSION_MISSING")
    expect(service.verdict(secret[:-1] + ("0" if secret[-1] != "0" else "1")), "MALFORMED_KEY")
    refused = reason_of(lambda: create_key(service, "not mine to make"))
    expect(refused, "ROLE_MISSING")
    anonymous = Client(address, "nonsense")
    expect(reason_of(lambda: anonymous.verdict(secret)), "CALLER_CREDENTIAL_INVALID")

    step("guard an HTTP service with it")
    guarded = serve(Keyledger(service.channel, caller.credential))
    threading.Thread(target=guarded.serve_forever, daemon=True).start()
    port = guarded.server_address[1]
    expect(get(port, "/reports", secret), 200)
    expect(get(port, "/invoices", secret), 403)
    expect(get(port, "/reports", "kl_live_nonsense"), 401)
    expect(get(port, "/reports", caller.credential), 401)

    step("suspend the account: every key of it is refused, at once")
    admin.set_status(account_pb2.ACCOUNT_STATUS_SUSPENDED)
    expect(service.verdict(secret), "ACCOUNT_INACTIVE")
    expect(get(port, "/reports", secret), 403)
    admin.set_status(account_pb2.ACCOUNT_STATUS_ACTIVE)
    expect(get(port, "/reports", secret), 200)

    step("rotate with overlap: both keys work")
    rotated = admin.call(
        "RotateKey",
        keys.RotateKeyRequest(key_id=key_id, overlap=duration_pb2.Duration(seconds=3600)),
    )
    expect(rotated.old_key.state, key_pb2.KEY_STATE_RETIRING)
    expect(service.verdict(secret), "ALLOWED")
    expect(service.verdict(rotated.secret), "ALLOWED")

    step("revoke: refused at once")
    admin.call("RevokeKey", keys.RevokeKeyRequest(key_id=rotated.new_key.key_id))
    expect(service.verdict(rotated.secret), "REVOKED")
    expect(get(port, "/reports", rotated.secret), 401)

    step("the plan's cap holds: 5 active keys")
    made = [create_key(admin, f"key {n}")[1] for n in range(5)]
    expect(reason_of(lambda: create_key(admin, "one too many")), "ACTIVE_KEY_LIMIT")
    guarded.shutdown()
    guarded.server_close()
    secrets = [secret, rotated.secret, caller.credential, *made]
    return rotated.new_key.key_id, rotated.secret, secrets


def uses(admin: Client, key_id: str) -> dict[str, int]:
    """How often a key was allowed (under no name) and denied for each reason, in the last hour."""
    start = timestamp_pb2.Timestamp()
    start.FromSeconds(int(time.time()) - 3600)
    request = usage.QueryUsageRequest(
        start_time=start,
        filter=usage.UsageFilter(key_id=key_id),
        group_by=[usage_pb2.GROUP_BY_REASON],
        top_n=10,
    )
    rows = admin.call("QueryUsage", request).rows
    name = lambda row: auth.DenialReason.Name(row.reason) if row.reason else ""
    return {
        name(row).removeprefix("DENIAL_REASON_"): row.counts.allowed + row.counts.denied
        for row in rows
    }


def main() -> None:
    binary = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory) / "data"
        server = Server(binary, data_dir)
        credential = (data_dir / "admin.credential").read_text().removesuffix("\n")
        admin = Client(server.grpc, credential)
        key_id, secret, secrets = first_half(admin, server.grpc)
        expect(server.stop(), 0)
        log = server.log

        step("restart: each use of before is on record")
        server = Server(binary, data_dir)
        admin = Client(server.grpc, credential)
        expect(uses(admin, key_id), {"": 1, "REVOKED": 2})

        step("still refused")
        expect(admin.verdict(secret), "REVOKED")
        key = admin.call("GetKey", keys.GetKeyRequest(key_id=key_id)).key
        expect((key.state, key.name), (key_pb2.KEY_STATE_REVOKED, "ci"))
        expect(server.stop(), 0)

        step("no secret in the log")
        log += server.log
        for text in [credential, *secrets]:
            assert text not in log, "a secret is in the log"
    print("tour: ok")


if __name__ == "__main__":
    main()
