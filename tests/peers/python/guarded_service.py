"""A small HTTP service whose every request is authenticated by keyledger.

It is what a calling service looks like: it passes on the key it was given, asks for the permission
the route needs, and serves only on ALLOWED. A denied key is a normal answer of Authenticate, so the
outcome decides; everything else, errors included, refuses (it fails closed).
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

from keyledger.v1 import authentication_pb2, key_service_pb2_grpc

ROUTES = {"/reports": "reports:read", "/invoices": "invoices:write"}
DEADLINE_SECONDS = 2

STATUS = {
    "TENANT_MISMATCH": 403,
    "ACCOUNT_INACTIVE": 403,
    "PERMISSION_MISSING": 403,
    "SOURCE_NOT_ALLOWED": 403,
    "RATE_LIMITED": 429,
}


class Guard:
    """Asks keyledger about each request, with the service's own credential."""

    def __init__(self, channel: grpc.Channel, credential: str) -> None:
        self._stub = key_service_pb2_grpc.KeyServiceStub(channel)
        self._metadata = [("authorization", f"Bearer {credential}")]

    def check(self, api_key: str, permission: str, source: str):
        """Returns (HTTP status, message, principal); the principal only with 200."""
        request = authentication_pb2.AuthenticateRequest(
            api_key=api_key,
            required_permissions=[permission],
            context=authentication_pb2.AuthenticateContext(source_ip=source),
        )
        try:
            answer = self._stub.Authenticate(
                request, metadata=self._metadata, timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError:
            return 503, "Service Unavailable", None
        if answer.outcome == authentication_pb2.OUTCOME_ALLOWED:
            return 200, "", answer.principal
        name = authentication_pb2.DenialReason.Name(answer.denial_reason)
        reason = name.removeprefix("DENIAL_REASON_")
        return STATUS.get(reason, 401), answer.public_message, None


def serve(guard: Guard) -> ThreadingHTTPServer:
    """A server on a free port of this machine; the caller runs and closes it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            permission = ROUTES.get(self.path)
            if permission is None:
                self._answer(404, {"error": "Not Found"})
                return
            scheme, _, key = self.headers.get("authorization", "").partition(" ")
            key = key if scheme.lower() == "bearer" else ""
            status, message, principal = guard.check(key, permission, self.client_address[0])
            if principal is None:
                self._answer(status, {"error": message})
            else:
                self._answer(200, {"account": principal.account_id, "key": principal.key_name})

        def _answer(self, status: int, body: dict) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args) -> None:
            """Says nothing: a request line may hold what is not for a log."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
