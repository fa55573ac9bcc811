"""Real nginx, Caddy and Traefik with the samples of deploy/ ask the real keyledger over HTTP, in front of a real service.

Usage: forward_auth.py KEYLEDGER_BINARY NGINX_BINARY CADDY_BINARY TRAEFIK_BINARY        Exits 0 if all went as the samples promise.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import cases
from cases import House, bearer
from harness import Keyledger, Proxy, Service, expect, free_port, get, replaced, step

DEPLOY = Path(__file__).parents[3] / "deploy"


class WithHttp(Keyledger):
    """A keyledger that proxies may ask over HTTP."""

    def __init__(self, binary: Path, work: Path, header: str) -> None:
        self.header = header
        super().__init__(binary, work)

    def more(self) -> list[str]:
        config = self.work / "keyledger.toml"
        config.write_text(f'[proxies]\nclient_address_header = "{self.header}"\n')
        return ["--config", str(config), "--http-addr", f"127.0.0.1:{self.http_port}"]


# A busy machine is not a server that hangs.
PATIENT = ("200ms", "2s")


def sample(house: House, service: Service, name: str, port: int, *pairs: tuple[str, str]) -> Path:
    """A sample with its addresses and some pairs replaced, written where it may lie."""
    ports = [(8000, port), (8001, service.port), (8080, house.keyledger.http_port)]
    changed = [(f"127.0.0.1:{old}", f"127.0.0.1:{new}") for old, new in ports]
    place = house.keyledger.work / Path(name).name
    place.write_text(replaced((DEPLOY / name).read_text(), *changed, *pairs))
    return place


def nginx(binary: str, house: House, service: Service, credential: str) -> Proxy:
    port, work = free_port(), house.keyledger.work
    caller = work / "keyledger-caller.conf"
    caller.write_text(f"proxy_set_header X-Keyledger-Caller {credential};\n")
    paths = [("/etc/nginx/keyledger-caller.conf", str(caller)), ("/run/nginx.pid", str(work / "pid"))]
    config = sample(house, service, "nginx/nginx.conf", port, PATIENT, *paths)
    command = [binary, "-c", str(config), "-p", str(work), "-e", "stderr", "-g", "daemon off;"]
    return Proxy(command, port, work / "nginx.log", {})


def caddy(binary: str, house: House, service: Service, credential: str) -> Proxy:
    port, work = free_port(), house.keyledger.work
    config = sample(house, service, "caddy/Caddyfile", port, PATIENT)
    environment = {"KEYLEDGER_CREDENTIAL": credential, "HOME": str(work)}
    command = [binary, "run", "--config", str(config), "--adapter", "caddyfile"]
    return Proxy(command, port, work / "caddy.log", environment)


def traefik(binary: str, house: House, service: Service, credential: str) -> Proxy:
    port, work = free_port(), house.keyledger.work
    config = sample(house, service, "traefik/dynamic.yaml", port)
    environment = {"KEYLEDGER_CREDENTIAL": credential}
    command = [binary, f"--entrypoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={config}"]
    proxy = Proxy(command, port, work / "traefik.log", environment)
    # Its port is open before it knows of any route.
    until = time.monotonic() + 30
    while proxy.get("/public").status == 404 and time.monotonic() < until:
        time.sleep(0.05)
    return proxy


def all_cases(house: House, proxy: Proxy, service: Service, malformed: set[int], hangs: bool) -> None:
    cases.let_through(house, proxy)
    cases.refused(house, proxy, service, malformed)
    cases.smuggling(house, proxy)
    cases.public(house, proxy)
    cases.sources(house, proxy)
    step("a client's query asks nothing of keyledger")
    before = service.reached
    expect(proxy.get("/reports?anonymous=true").status, 401)
    expect(proxy.get("/?permission=a&limit_status=200&nonsense", bearer(house.other)).status, 200)
    expect(proxy.get("/reports?permission=a", bearer(house.other)).status, 403)
    expect(service.reached, before + 1)
    step("nor does a caller's credential that it sends")
    expect(proxy.get("/", ("x-keyledger-caller", "nonsense"), bearer(house.other)).status, 200)
    answer = cases.limits(house, proxy, 429)
    expect(1 <= int(answer.headers["retry-after"]) <= 61, True)
    if hangs:
        hanging(house, proxy, service)
    outage(house, proxy, service)


def hanging(house: House, proxy: Proxy, service: Service) -> None:
    step("while keyledger hangs nobody is let through, and it is nobody's fault")
    before = service.reached
    house.keyledger.freeze()
    for path in ("/", "/public"):
        expect(proxy.get(path, bearer(house.other)).status in (500, 502, 503, 504), True)
    house.keyledger.thaw()
    expect(service.reached, before)


def outage(house: House, proxy: Proxy, service: Service) -> None:
    step("while it is stopped nobody is let through either")
    before = service.reached
    house.keyledger.stop()
    expect(proxy.get("/", bearer(house.other)).status in (500, 502, 503, 504), True)
    expect(service.reached, before)
    step("and once it is back all is as before")
    house.keyledger.start()
    until = time.monotonic() + 30
    while proxy.get("/", bearer(house.other)).status != 200 and time.monotonic() < until:
        time.sleep(0.05)
    cases.let_through(house, proxy)


def failures(house: House, proxy: Proxy, service: Service, tells: bool) -> None:
    step(f"nobody is let through by a proxy whose credential is none, and clients {'see' if tells else 'do not see'} why")
    before = service.reached
    for path in ("/", "/public"):
        answer = proxy.get(path, bearer(house.other))
        expect(answer.status in (500, 502, 503, 504), True)
        expect("credential" in answer.body.lower(), tells)
    expect(service.reached, before)


def who_am_i(house: House) -> None:
    print("whoami, with a key alone", flush=True)
    port = house.keyledger.http_port
    answer = get(port, "/whoami", bearer(house.key))
    expect((answer.status, json.loads(answer.body)["key_name"]), (200, "dépôt, 1"))
    expect(get(port, "/whoami", bearer(house.revoked)).status, 401)


def main() -> None:
    for name, start, binary, header, malformed, hangs, tells in (
        # nginx itself refuses a second Authorization header.
        ("nginx", nginx, sys.argv[2], "x-real-ip", {400, 401}, True, False),
        ("Caddy", caddy, sys.argv[3], "x-real-ip", {401}, True, False),
        # It would wait for 30 s, and passes on whatever is no success.
        ("Traefik", traefik, sys.argv[4], "x-forwarded-for", {401}, False, True),
    ):
        with tempfile.TemporaryDirectory() as directory:
            Path(directory).chmod(0o755)
            keyledger = WithHttp(Path(sys.argv[1]), Path(directory), header)
            try:
                house, service = House(keyledger), Service()
                print(f"{name}, the sample as it is", flush=True)
                proxy = start(binary, house, service, keyledger.caller("edge"))
                try:
                    all_cases(house, proxy, service, malformed, hangs)
                finally:
                    proxy.stop()
                proxy = start(binary, house, service, "kl_svc_of_nobody")
                try:
                    failures(house, proxy, service, tells)
                finally:
                    proxy.stop()
                who_am_i(house)
            finally:
                keyledger.kill()


main()
