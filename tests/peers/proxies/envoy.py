"""A real Envoy with deploy/envoy/envoy.yaml asks the real keyledger, in front of a real service.

Usage: envoy.py KEYLEDGER_BINARY ENVOY_BINARY        Exits 0 if all went as the sample promises.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import cases
from cases import House, bearer
from harness import Keyledger, Proxy, Service, expect, free_port, replaced, step

SAMPLE = Path(__file__).parents[3] / "deploy" / "envoy" / "envoy.yaml"


class Envoy(Proxy):
    """An Envoy with the sample, changed by some pairs."""

    def __init__(self, binary: str, house: House, service: Service, *pairs: tuple[str, str]) -> None:
        port, work = free_port(), house.keyledger.work
        ports = [("port_value: 8000", port), ("port_value: 8001", service.port)]
        ports.append(("port_value: 50051", house.keyledger.port))
        changed = [(old, f"port_value: {new}") for old, new in ports]
        # A busy machine is not a server that hangs.
        changed.append(("timeout: 0.2s", "timeout: 2s"))
        config = work / f"envoy-{port}.yaml"
        config.write_text(replaced(SAMPLE.read_text(), *changed, *pairs))
        command = [binary, "-c", str(config), "--use-dynamic-base-id", "--log-level", "error"]
        command += ["--concurrency", "1"]
        credential = house.keyledger.caller(f"envoy-{port}")
        environment = {"KEYLEDGER_CREDENTIAL": credential}
        super().__init__(command, port, work / f"envoy-{port}.log", environment)
        # Until its connection to keyledger stands, Envoy may refuse by its own timeout.
        until = time.monotonic() + 30
        while self.get("/", bearer(house.other)).status != 200 and time.monotonic() < until:
            time.sleep(0.05)


def access_log(envoy: Envoy) -> list[dict]:
    """Waits for what Envoy writes behind its answers, and reads it."""
    until = time.monotonic() + 30
    while True:
        lines = [line for line in envoy.log.read_text().splitlines() if line.startswith("{")]
        found = [json.loads(line) for line in lines]
        if any(entry["path"] == "/last" for entry in found) or time.monotonic() > until:
            return found
        time.sleep(0.2)


def as_shipped(binary: str, house: House, service: Service) -> None:
    print("the sample as it is", flush=True)
    envoy = Envoy(binary, house, service)
    cases.let_through(house, envoy)
    cases.refused(house, envoy, service)
    cases.smuggling(house, envoy)
    cases.public(house, envoy)
    cases.sources(house, envoy)
    answer = cases.limits(house, envoy, 429)
    expect(1 <= int(answer.headers["retry-after"]) <= 61, True)
    step("so is what only looks like one of ours")
    seen = envoy.get("/public", ("x-keyledger-new", "forged")).seen()
    expect("x-keyledger-new" in seen, False)
    step("headers with underscores are refused by Envoy itself")
    expect(envoy.get("/public", ("x_keyledger_tenant", "acme")).status, 400)
    step("the access log says precisely why, and the client's answer did not")
    envoy.get("/last", bearer(house.revoked))
    reasons = {(entry["path"], entry["reason"]) for entry in access_log(envoy)}
    for wanted in [("/reports", "PERMISSION_MISSING"), ("/last", "REVOKED"), ("/", "RATE_LIMITED")]:
        expect(wanted in reasons, True)
    outage(house, service, envoy)
    envoy.stop()


def outage(house: House, service: Service, envoy: Envoy) -> None:
    step("while keyledger hangs or is stopped nobody is let through, and it is nobody's fault")
    before = service.reached
    house.keyledger.freeze()
    expect(envoy.get("/", bearer(house.other)).status, 503)
    expect(envoy.get("/public").status, 503)
    house.keyledger.thaw()
    house.keyledger.stop()
    expect(envoy.get("/", bearer(house.other)).status, 503)
    expect(service.reached, before)
    step("and once it is back all is as before")
    house.keyledger.start()
    until = time.monotonic() + 30
    while envoy.get("/", bearer(house.other)).status != 200 and time.monotonic() < until:
        time.sleep(0.05)
    cases.let_through(house, envoy)


def changed(binary: str, house: House, service: Service) -> None:
    print("headers as text, 96 KiB of them, underscores let in", flush=True)
    envoy = Envoy(
        binary, house, service,
        ("encode_raw_headers: true", "encode_raw_headers: false"),
        ("headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW"),
        ("stat_prefix: edge", "stat_prefix: edge\n                max_request_headers_kb: 96"),
    )
    cases.let_through(house, envoy)
    cases.refused(house, envoy, service)
    cases.smuggling(house, envoy)
    cases.public(house, envoy)
    step("a claim with underscores is taken out")
    seen = envoy.get("/public", ("x_keyledger_tenant", "acme"), ("X_Keyledger-Roles", "a")).seen()
    expect([name for name in seen if "keyledger" in name], [])
    step("64 KiB of headers")
    expect(envoy.get("/", ("x-api-key", "k" * 64 * 1024)).status, 401)
    seen = envoy.get("/", bearer(house.other), *[(f"x-{n}", "v" * 8000) for n in range(8)]).seen()
    expect(seen["x-keyledger-key-id"], [house.other_id])
    envoy.stop()


def misconfigured(binary: str, house: House, service: Service) -> None:
    print("a misspelt permission", flush=True)
    envoy = Envoy(binary, house, service, ("permission: ", "permision: "))
    before = service.reached
    expect(envoy.get("/reports", bearer(house.key)).status, 503)
    expect(service.reached, before)
    envoy.stop()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        keyledger = Keyledger(Path(sys.argv[1]), Path(directory))
        try:
            house, service = House(keyledger), Service()
            for run in (as_shipped, changed, misconfigured):
                run(sys.argv[2], house, service)
        finally:
            keyledger.kill()


main()
