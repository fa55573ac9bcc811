"""A guarded service: guarded_service.py KEYLEDGER CREDENTIAL_FILE SERVICE_CONFIG"""

import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import grpc

from keyledger_guard import Keyledger, guarded

ROUTES = {"/reports": "reports:read", "/invoices": "invoices:write"}


class Server(ThreadingMixIn, WSGIServer):
    """Answers each request on a thread of its own."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_arguments) -> None:
        """Says nothing: a request line may hold what is not for a log."""


def account(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["keyledger.principal"].account_id.encode()]


def serve(keyledger: Keyledger) -> Server:
    """A server on a free port of this machine; the caller runs and closes it."""
    routes = {
        path: guarded(keyledger, permission, account) for path, permission in ROUTES.items()
    }

    def application(environ, start_response):
        route = routes.get(environ["PATH_INFO"])
        if route is None:
            start_response("404 Not Found", [])
            return []
        return route(environ, start_response)

    return make_server("127.0.0.1", 0, application, Server, Handler)


def main() -> None:
    address, credential, service_config = sys.argv[1:]
    options = [("grpc.service_config", Path(service_config).read_text())]
    # To another machine: grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
    channel = grpc.insecure_channel(address, options)
    server = serve(Keyledger(channel, Path(credential).read_text().rstrip("\n")))
    print("ready http=127.0.0.1:%d" % server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
