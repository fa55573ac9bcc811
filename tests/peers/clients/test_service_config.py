"""What deploy/clients/service_config.json makes of calls, with a real client of grpcio.

Servers that fail as told are made here, since a keyledger that works does not.
"""

import socket
from concurrent import futures
from pathlib import Path

import grpc

from keyledger.v1 import authentication_pb2 as auth, key_service_pb2 as keys, key_service_pb2_grpc

CONFIG = Path(__file__).parents[3] / "deploy/clients/service_config.json"


class Failing(key_service_pb2_grpc.KeyServiceServicer):
    """Fails so many times with a code, then answers."""

    def __init__(self, code: grpc.StatusCode, times: int) -> None:
        self.code, self.times, self.calls = code, times, 0

    def Authenticate(self, request, context):
        self.calls += 1
        if self.calls <= self.times:
            context.abort(self.code, "as told")
        return auth.AuthenticateResponse(outcome=auth.OUTCOME_ALLOWED)

    def RevokeKey(self, request, context):
        self.calls += 1
        context.abort(self.code, "as told")


def stub(address: str):
    channel = grpc.insecure_channel(address, [("grpc.service_config", CONFIG.read_text())])
    return key_service_pb2_grpc.KeyServiceStub(channel)


def code_of(call) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def tried(code: grpc.StatusCode, times: int, call) -> tuple[grpc.StatusCode, int]:
    """What a call comes to at a server that fails so many times, and how often it got there."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    failing = Failing(code, times)
    key_service_pb2_grpc.add_KeyServiceServicer_to_server(failing, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        return code_of(lambda: call(stub(f"127.0.0.1:{port}"))), failing.calls
    finally:
        server.stop(None).wait()


def expect(found, wanted) -> None:
    assert found == wanted, f"expected {wanted}, found {found}"


def main() -> None:
    ask = lambda keyledger: keyledger.Authenticate(auth.AuthenticateRequest())
    revoke = lambda keyledger: keyledger.RevokeKey(keys.RevokeKeyRequest())
    ok, unavailable = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
    expect(tried(unavailable, 2, ask), (ok, 3))
    expect(tried(unavailable, 9, ask), (unavailable, 3))
    for code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED):
        expect(tried(code, 1, ask), (code, 1))
    # What changes something is not repeated behind the caller's back.
    expect(tried(unavailable, 9, revoke), (unavailable, 1))

    # Bound and not listened on: nobody answers, and nobody else takes the port. Who waits until it is there,
    # waits until the deadline; who does not, is told at once that it is not there.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = stub("127.0.0.1:%d" % nobody.getsockname()[1])
        expect(code_of(lambda: ask(gone)), grpc.StatusCode.DEADLINE_EXCEEDED)
        expect(code_of(lambda: revoke(gone)), unavailable)
    print("service config: ok")


if __name__ == "__main__":
    main()
