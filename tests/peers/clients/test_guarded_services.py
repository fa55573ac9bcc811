"""The guarded services of deploy/clients, each in its language, before a real keyledger.

Usage: test_guarded_services.py KEYLEDGER_BINARY "NAME: COMMAND"...   Exits 0 if each serves whom it should, and nobody else.
"""

import http.client
import shlex
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from keyledger.v1 import (
    account_pb2,
    account_service_pb2 as accounts,
    account_service_pb2_grpc,
    admin_service_pb2,
    admin_service_pb2_grpc,
    authentication_pb2 as auth,
    caller_pb2,
    key_service_pb2 as keys,
    key_service_pb2_grpc,
)
from server import Server

ROOT = Path(__file__).parents[3]
PLANS = "[plans.two]\nrequests_per_minute = 2\n"
# A service that has not answered by then hangs.
PATIENCE_SECONDS = 30
# Connections that a client tries again at longer and longer intervals; of 2 s each.
TRIES = 15


class Admin:
    """Makes what the services are asked about."""

    def __init__(self, server: Server, data_dir: Path) -> None:
        credential = (data_dir / "admin.credential").read_text().removesuffix("\n")
        channel = grpc.insecure_channel(server.grpc)
        self._metadata = [("authorization", f"Bearer {credential}")]
        self._keys = key_service_pb2_grpc.KeyServiceStub(channel)
        self._accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(channel)

    def _call(self, rpc, request):
        return rpc(request, metadata=self._metadata, timeout=PATIENCE_SECONDS)

    def put_account(self, name: str, plan: str) -> None:
        account = account_pb2.Account(
            tenant_id="acme",
            account_id=name,
            display_name=name,
            plan=plan,
            permissions=["reports:read"],
        )
        self._call(self._accounts.PutAccount, accounts.PutAccountRequest(account=account))

    def create_key(self, account: str, **fields) -> tuple[str, str]:
        request = keys.CreateKeyRequest(
            tenant_id="acme", account_id=account, name="key", environment="live", **fields
        )
        answer = self._call(self._keys.CreateKey, request)
        return answer.key.key_id, answer.secret

    def revoke(self, key_id: str) -> None:
        self._call(self._keys.RevokeKey, keys.RevokeKeyRequest(key_id=key_id))

    def create_caller(self) -> tuple[str, str]:
        request = admin_service_pb2.CreateCallerRequest(
            name="service", owner="team", roles=[caller_pb2.ROLE_AUTHENTICATOR]
        )
        answer = self._call(self._admin.CreateCaller, request)
        return answer.caller.caller_id, answer.credential

    def revoke_caller(self, caller_id: str) -> None:
        request = admin_service_pb2.RevokeCallerRequest(caller_id=caller_id)
        self._call(self._admin.RevokeCaller, request)


class Strange(key_service_pb2_grpc.KeyServiceServicer):
    """Gives answers that no keyledger gives, or none that is known yet, to keys that are services' names."""

    ANSWERS = [
        auth.AuthenticateResponse(),
        auth.AuthenticateResponse(principal=auth.Principal(account_id="billing")),
        auth.AuthenticateResponse(outcome=99, principal=auth.Principal(account_id="billing")),
        auth.AuthenticateResponse(outcome=auth.OUTCOME_ALLOWED),
        auth.AuthenticateResponse(outcome=auth.OUTCOME_DENIED, denial_reason=99),
        auth.AuthenticateResponse(
            outcome=auth.OUTCOME_DENIED, principal=auth.Principal(account_id="billing")
        ),
    ]

    def __init__(self) -> None:
        self._asked, self._lock = {}, threading.Lock()

    def Authenticate(self, request, context):
        with self._lock:
            times = self._asked.setdefault(request.api_key, 0)
            self._asked[request.api_key] += 1
        return self.ANSWERS[times % len(self.ANSWERS)]

    def asked(self, name: str) -> int:
        with self._lock:
            return self._asked.get(name, 0)


class Service:
    """A guarded service: a program that says `ready http=HOST:PORT` and serves."""

    def __init__(self, command: str, *arguments: str) -> None:
        name, command = command.split(": ", 1)
        self.name, self.limited = name, f"limited-{name}"
        self._process = subprocess.Popen(
            [*shlex.split(command), *arguments], stdout=subprocess.PIPE, text=True
        )

    def ready(self) -> None:
        said = self._process.stdout.readline()
        assert said.startswith("ready http="), f"{self.name} did not start: {said!r}"
        self._address = said.strip().removeprefix("ready http=")

    def get(self, path: str, *headers: tuple[str, str | bytes]):
        """Status, headers and text of an answer."""
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE_SECONDS)
        connection.putrequest("GET", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read().decode().strip()
        connection.close()
        return found

    def told(self, key: str, path="/reports") -> tuple[int, str]:
        status, _, text = self.get(path, ("Authorization", f"Bearer {key}"))
        return status, text

    def expect(self, wanted: tuple[int, str], key: str, path="/reports") -> None:
        found = self.told(key, path)
        assert found == wanted, f"{self.name}: expected {wanted}, found {found}"

    def served_in_the_end(self, key: str) -> None:
        """Once it has connected, which takes as long as it takes."""
        assert any(self.told(key)[0] == 200 for _ in range(TRIES)), f"{self.name} serves nobody"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


NO_KEY, NOT_ALLOWED = (401, "Invalid API Key"), (403, "Unauthorized")
LIMITED, NO_VERDICT = (429, "Rate limit exceeded"), (503, "Service Unavailable")


def while_it_runs(service: Service, admin: Admin, secret: str) -> None:
    service.served_in_the_end(secret)
    service.expect((200, "billing"), secret)
    service.expect(NOT_ALLOWED, secret, "/invoices")

    bearer = ("Authorization", f"Bearer {secret}")
    for headers in (
        [],
        [("Authorization", "Bearer kl_live_nonsense")],
        [("Authorization", f"Basic {secret}")],
        [("Authorization", secret)],
        [("Authorization", b"Bearer \xff\xfe" + b"k" * 4000)],
        [bearer, bearer],
    ):
        status, told, text = service.get("/reports", *headers)
        # Some HTTP servers refuse a second Authorization, or such bytes, themselves.
        assert status == 400 or (status, text) == NO_KEY, f"{service.name}: {headers} {status}"
        assert status == 400 or told["WWW-Authenticate"] == "Bearer", f"{service.name}: {told}"

    key_id, revoked = admin.create_key("billing")
    service.expect((200, "billing"), revoked)
    admin.revoke(key_id)
    service.expect(NO_KEY, revoked)

    for ranges, wanted in (("127.0.0.1", (200, "billing")), ("10.0.0.0/8", NOT_ALLOWED)):
        _, bound = admin.create_key("billing", allowed_cidrs=[ranges])
        service.expect(wanted, bound)

    admin.put_account(service.limited, "two")
    _, limited = admin.create_key(service.limited)
    for _ in range(2):
        service.expect((200, service.limited), limited)
    service.expect(LIMITED, limited)
    _, told, _ = service.get("/reports", ("Authorization", f"Bearer {limited}"))
    assert 1 <= int(told["Retry-After"]) <= 61, f"{service.name}: {told}"


def before_a_strange_one(service: Service, strange: Strange) -> None:
    tries = 0
    while strange.asked(service.name) < len(Strange.ANSWERS):
        before = strange.asked(service.name)
        status, text = service.told(service.name)
        asked = strange.asked(service.name) > before
        assert status == (401 if asked else 503), f"{service.name}: {before}: {status} {text}"
        tries += 1
        assert tries < TRIES + len(Strange.ANSWERS), f"{service.name} asks nobody"


def main() -> None:
    binary, commands = Path(sys.argv[1]).resolve(), sys.argv[2:]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(len(commands)) as pool:
        data_dir, config, credential = (
            Path(directory) / name for name in ("data", "config.toml", "credential")
        )
        config.write_text(PLANS)
        options = ["--config", str(config)]
        server = Server(binary, data_dir, *options)
        admin = Admin(server, data_dir)
        admin.put_account("billing", "enterprise")
        _, secret = admin.create_key("billing")
        caller_id, token = admin.create_caller()
        credential.write_text(token + "\n")
        arguments = [str(credential), str(ROOT / "deploy/clients/service_config.json")]
        arguments = [server.grpc, *arguments, str(ROOT / "proto")]
        # Those that need no protos take three.
        services = [
            Service(command, *arguments[: 4 if command.startswith("typescript") else 3])
            for command in commands
        ]
        try:
            for service in services:
                service.ready()
            list(pool.map(lambda service: while_it_runs(service, admin, secret), services))
            print("  while keyledger runs: ok", flush=True)

            assert server.stop() == 0
            list(pool.map(lambda service: service.expect(NO_VERDICT, secret), services))
            print("  while it is gone: ok", flush=True)

            strange, stranger = Strange(), grpc.server(ThreadPoolExecutor(len(services)))
            key_service_pb2_grpc.add_KeyServiceServicer_to_server(strange, stranger)
            stranger.add_insecure_port(server.grpc)
            stranger.start()
            list(pool.map(lambda service: before_a_strange_one(service, strange), services))
            stranger.stop(None).wait()
            print("  while another answers what is no verdict: ok", flush=True)

            server = Server(binary, data_dir, *options, grpc=server.grpc)
            list(pool.map(lambda service: service.served_in_the_end(secret), services))
            print("  once it is back: ok", flush=True)

            Admin(server, data_dir).revoke_caller(caller_id)
            list(pool.map(lambda service: service.expect(NO_VERDICT, secret), services))
            print("  once their own credential is revoked: ok", flush=True)
        finally:
            for service in services:
                service.end()
            server.stop()
    print("guarded services: ok")


if __name__ == "__main__":
    main()
