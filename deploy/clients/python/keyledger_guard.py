"""Guards WSGI applications (Flask, Django and the like) with keyledger. It fails closed."""

import logging

import grpc

from keyledger.v1 import authentication_pb2 as auth, key_service_pb2_grpc

NOT_ALLOWED = {
    auth.DENIAL_REASON_TENANT_MISMATCH,
    auth.DENIAL_REASON_ACCOUNT_INACTIVE,
    auth.DENIAL_REASON_PERMISSION_MISSING,
    auth.DENIAL_REASON_SOURCE_NOT_ALLOWED,
}
# How long a request may wait for a verdict; keyledger is told, and does not begin what comes too late.
DEADLINE_SECONDS = 2
# No key is as long: what is longer is cut, so that keyledger can say that it is none.
MOST_KEY = 256


class Refused(Exception):
    """Whatever is not ALLOWED. Its headers and message are for whoever presented the key."""

    def __init__(self, status: str, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Keyledger:
    """Asks with the service's own credential. The channel has service_config.json."""

    def __init__(self, channel: grpc.Channel, credential: str) -> None:
        self._stub = key_service_pb2_grpc.KeyServiceStub(channel)
        self._metadata = [("authorization", f"Bearer {credential}")]

    def authenticate(self, request: auth.AuthenticateRequest) -> auth.Principal:
        """Who the key speaks for, if it is allowed. Raises Refused if not, or if that is not known."""
        try:
            answer = self._stub.Authenticate(
                request, metadata=self._metadata, timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError as error:
            logging.warning("keyledger gave no verdict: %s", error.code())
            raise Refused("503 Service Unavailable", "Service Unavailable") from error
        if answer.outcome == auth.OUTCOME_ALLOWED and answer.HasField("principal"):
            return answer.principal
        # A denied key is a normal answer: no error says so.
        if answer.denial_reason in NOT_ALLOWED:
            raise Refused("403 Forbidden", answer.public_message)
        if answer.denial_reason == auth.DENIAL_REASON_RATE_LIMITED:
            seconds = -(-answer.rate_limit.retry_after.ToNanoseconds() // 10**9)
            wait = ("Retry-After", str(seconds))
            raise Refused("429 Too Many Requests", answer.public_message, wait)
        bearer = ("WWW-Authenticate", "Bearer")
        raise Refused("401 Unauthorized", answer.public_message, bearer)


def guarded(keyledger: Keyledger, permission: str, application):
    """The application, for keys with the permission; it finds who calls in `keyledger.principal`."""

    def guard(environ, start_response):
        scheme, _, key = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        request = auth.AuthenticateRequest(
            api_key=key[:MOST_KEY] if scheme.lower() == "bearer" else "",
            required_permissions=[permission],
            # Behind a proxy the address is the proxy's: take the one that it puts into a header of its own.
            context=auth.AuthenticateContext(action=permission, source_ip=environ["REMOTE_ADDR"]),
        )
        try:
            environ["keyledger.principal"] = keyledger.authenticate(request)
        except Refused as refused:
            start_response(refused.status, [("Content-Type", "text/plain"), *refused.headers])
            return [refused.message.encode()]
        return application(environ, start_response)

    return guard
