"""What the tests of proxies share: a real keyledger, a real service behind the proxy, and a client that may send anything."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 30


def step(text: str) -> None:
    print(f"  {text}", flush=True)


def expect(found, wanted) -> None:
    if found != wanted:
        raise AssertionError(f"expected {wanted!r}, found {found!r}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen) -> None:
    """Until a connection to the port of a process is taken."""
    until = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text of a sample with its addresses replaced; each must be there."""
    for old, new in pairs:
        if old not in text:
            raise AssertionError(f"{old!r} is not in the sample")
        text = text.replace(old, new)
    return text


class Keyledger:
    """A real server on a data directory and a port that it keeps when it is started again."""

    def __init__(self, binary: Path, work: Path) -> None:
        self.binary, self.work = binary, work
        self.data, self.port, self.http_port = work / "data", free_port(), free_port()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("KEYLEDGER_")
        } | {"KEYLEDGER_HTTP_ADDR": "off"}
        self.start()

    def start(self) -> None:
        command = [self.binary, "serve", "--data-dir", self.data, "--ops-addr", self.ops_addr()]
        command += ["--grpc-addr", f"127.0.0.1:{self.port}"]
        command += self.more()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment
        )
        watchdog = threading.Timer(START_SECONDS, self.process.kill)
        watchdog.start()
        ready = self.process.stdout.readline()
        watchdog.cancel()
        expect(ready.startswith("ready "), True)

    def ops_addr(self) -> str:
        return "off"

    def more(self) -> list[str]:
        return []

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        expect(self.process.wait(STOP_SECONDS), 0)
        self.process.stdout.close()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        # Until then it may still answer.
        os.waitpid(self.process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def cli(self, *arguments: str) -> str:
        """Runs a command as the admin and returns what it prints."""
        environment = self.environment | {
            "KEYLEDGER_SERVER": f"http://127.0.0.1:{self.port}",
            "KEYLEDGER_DATA_DIR": str(self.data),
        }
        done = subprocess.run(
            [self.binary, *arguments], env=environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return done.stdout

    def account(self, name: str, plan: str, *permissions: str) -> None:
        granted = [word for permission in permissions for word in ("--permission", permission)]
        self.cli("account", "put", "acme", name, "--plan", plan, *granted)

    def key(self, account: str, name: str, *more: str) -> tuple[str, str]:
        """Makes a key and returns its id and its secret."""
        place = self.work / f"{account}.{name.encode().hex()}"
        answer = self.cli(
            "key", "create", "acme", account, "--name", name,
            "--secret-out", str(place), "--output", "json", *more,
        )
        return json.loads(answer)["key"]["key_id"], place.read_text().strip()

    def caller(self, name: str) -> str:
        """Makes a caller that may authenticate and returns its credential."""
        place = self.work / f"{name}.token"
        role = ("--role", "authenticator", "--secret-out", str(place))
        self.cli("admin", "caller", "create", "--name", name, *role)
        return place.read_text().strip()


class Service:
    """The service behind the proxy: answers with the headers it was sent, and counts what reached it."""

    def __init__(self, port: int = 0) -> None:
        service = self
        self.reached = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.reached += 1
                data = json.dumps([[name.lower(), value] for name, value in self.headers.items()])
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data.encode())

            do_POST = do_GET

            def log_message(self, *_args) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class Answer:
    """What a client is answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.body = response.read().decode()
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def seen(self) -> dict[str, list[str]]:
        """The headers that the service was sent, but for those without a value."""
        expect(self.status, 200)
        seen: dict[str, list[str]] = {}
        for name, value in json.loads(self.body):
            if value:
                seen.setdefault(name, []).append(value)
        return seen


def get(port: int, path: str, *headers: tuple[str, str | bytes]) -> Answer:
    """Sends a request with exactly these headers, and Host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Proxy:
    """A proxy as a process of its own; what it writes to standard output is kept in a file."""

    def __init__(self, command: list[str], port: int, log: Path, environment: dict[str, str]) -> None:
        self.port, self.log = port, log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | environment)
        wait_for(port, self._process)

    def get(self, path: str, *headers: tuple[str, str | bytes]) -> Answer:
        return get(self.port, path, *headers)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
