"""A real Prometheus scrapes a real keyledger with traffic on it, and answers what alerts and dashboard of deploy/ ask.

Usage: scraped.py KEYLEDGER_BINARY PROMETHEUS_BINARY PROMTOOL_BINARY     Exits 0 if each expression can be answered, is of
metrics that there are, and has an answer where the server has the figure.
"""

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from harness import Keyledger, expect, free_port, get, replaced, step, wait_for

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PATIENCE_SECONDS = 60

# What only a server has that is set up for it, or has run for long.
NOT_HERE = re.compile("keyledger_(tls|witness|anchor_(pos|last|fail|over)|cosigned|scrub_last)")


class Watched(Keyledger):
    """A keyledger whose operations port and HTTP port are open."""

    def __init__(self, binary: Path, work: Path) -> None:
        self.ops_port = free_port()
        super().__init__(binary, work)

    def ops_addr(self) -> str:
        return f"127.0.0.1:{self.ops_port}"

    def more(self) -> list[str]:
        return ["--http-addr", f"127.0.0.1:{self.http_port}"]


class Traffic:
    """Calls of all kinds, again and again, until it is stopped."""

    def __init__(self, keyledger: Watched) -> None:
        keyledger.account("billing", "enterprise", "reports:read")
        self.keyledger, self.key = keyledger, keyledger.key("billing", "ci")[1]
        self.revoked_id, self.revoked = keyledger.key("billing", "revoked")
        keyledger.cli("key", "revoke", self.revoked_id, "--yes")
        self.caller = keyledger.caller("edge")
        self._over = threading.Event()
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def once(self) -> None:
        port = self.keyledger.http_port
        caller = ("x-keyledger-caller", self.caller)
        for key, status in ((self.key, 200), (self.revoked, 401), ("nonsense", 401)):
            expect(get(port, "/authz", caller, ("x-api-key", key)).status, status)
        expect(get(port, "/whoami", ("x-api-key", self.key)).status, 200)
        # Not by a caller: the proxy's fault.
        expect(get(port, "/authz", ("x-api-key", self.key)).status, 500)

    def _run(self) -> None:
        try:
            while not self._over.wait(0.1):
                self.once()
        except BaseException as failure:
            self.failed = failure

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        if self.failed:
            raise self.failed


class Prometheus:
    """A Prometheus with the sample configuration, which scrapes each second."""

    def __init__(self, binary: str, work: Path, target: int) -> None:
        self.port = free_port()
        sample = (DEPLOY / "prometheus/prometheus.yml").read_text()
        config = replaced(
            sample,
            ("127.0.0.1:9464", f"127.0.0.1:{target}"),
            ("- alerts.yml", f"- {DEPLOY}/prometheus/alerts.yml"),
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
        )
        (work / "prometheus.yml").write_text(config)
        command = [binary, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with (work / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.port, self._process)

    def ask(self, path: str, **query: str):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list:
        """What an expression is now; raises if it is none."""
        try:
            return self.ask("query", query=expression)["result"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{expression}: {refused.read().decode()}") from refused

    def rules(self) -> list[dict]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.2)


def page(keyledger: Watched) -> str:
    answer = get(keyledger.ops_port, "/metrics")
    expect(answer.status, 200)
    return answer.body


def names(expression: str) -> set[str]:
    """The metrics of an expression, histograms without their endings."""
    found = re.findall(r"keyledger_[a-z0-9_]+", expression)
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}


def described() -> set[str]:
    """The metrics that docs/metrics.md has, which a test holds to the program."""
    text = (ROOT / "docs/metrics.md").read_text()
    return set(re.findall(r"^\| `(keyledger_[a-z0-9_]+)`", text, re.MULTILINE))


def dashboard() -> dict[str, str]:
    """The expressions of the dashboard by their panels, as Grafana fills them in."""
    board = json.loads((DEPLOY / "grafana/keyledger.json").read_text())
    asked = {f"annotation {one['name']}": one["expr"] for one in board["annotations"]["list"]}
    ids, places = [], []
    for panel in board["panels"]:
        ids.append(panel["id"])
        places.append((panel["gridPos"]["y"], panel["gridPos"]["x"]))
        expect(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, True)
        for target in panel.get("targets", []):
            asked[f"{panel['title']} {target['refId']}"] = target["expr"]
    expect((len(set(ids)), len(set(places))), (len(ids), len(ids)))
    fill = (("$__rate_interval", "30s"), ("$__interval", "30s"), ("$instance", ".*"))
    for name, expression in asked.items():
        for variable, value in fill:
            expression = expression.replace(variable, value)
        expect("$" in expression, False)
        asked[name] = expression
    return asked


def alerts(prometheus: Prometheus, known: set[str]) -> None:
    step("each alert is evaluated, is of metrics that there are, and names a heading of the runbook")
    rules = prometheus.rules()
    headings = set(re.findall(r"^### (.*)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE))
    for rule in rules:
        expect((rule["name"], rule["health"], rule.get("lastError", "")), (rule["name"], "ok", ""))
        expect((rule["name"], names(rule["query"]) - known), (rule["name"], set()))
        expect((rule["name"], rule["labels"]["severity"] in ("critical", "warning", "info")), (rule["name"], True))
        expect((rule["name"], rule["annotations"]["runbook"] in headings), (rule["name"], True))
    watched = set().union(*(names(rule["query"]) for rule in rules))
    expect(len(watched) > 20, True)
    step("a healthy server that refuses what it should raises none")
    raised = {rule["name"] for rule in rules if rule["state"] != "inactive"}
    # What has no caller's credential fails here, and how full the disk is depends on the machine.
    expect(raised - {"KeyledgerErrors", "KeyledgerDiskFilling", "KeyledgerDiskNearlyFull"}, set())


def panels(prometheus: Prometheus, known: set[str], text: str) -> None:
    step("each panel's expressions are of metrics that there are, and have an answer where the server has the figure")
    here = names("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    for panel, expression in dashboard().items():
        expect((panel, names(expression) - known), (panel, set()))
        found = prometheus.query(expression)
        if panel.startswith("annotation"):
            continue
        asked = names(expression)
        absent = asked - here
        expect((panel, {name for name in absent if not NOT_HERE.match(name)}), (panel, set()))
        if not absent:
            expect((panel, bool(found)), (panel, True))


def counts(prometheus: Prometheus) -> None:
    step("what is counted is what was asked")
    def value(expression: str) -> float:
        found = prometheus.query(expression)
        return float(found[0]["value"][1]) if found else 0.0

    for expression in (
        'keyledger_calls_total{method="/authz",code="200"}',
        'keyledger_calls_total{method="/authz",code="401"}',
        'keyledger_calls_total{method="/authz",code="500"}',
        'keyledger_calls_total{method="/whoami",code="200"}',
        'keyledger_calls_total{method="KeyService/CreateKey",code="OK"}',
        'keyledger_call_duration_seconds_count{method="/authz",outcome="server_error"}',
        'keyledger_decisions_total{outcome="allowed"}',
        'keyledger_decisions_total{outcome="revoked"}',
        'keyledger_decisions_total{outcome="malformed_key"}',
        "keyledger_ledger_commit_duration_seconds_count",
        "keyledger_ledger_commit_records_sum > 4",
    ):
        expect((expression, value(expression) > 0), (expression, True))
    p99 = value(
        'histogram_quantile(0.99, sum by (le) (rate(keyledger_call_duration_seconds_bucket{method="/authz",outcome="ok"}[30s])))'
    )
    expect(0 < p99 <= 5, True)


def outage(prometheus: Prometheus, keyledger: Watched) -> None:
    step("a server that is stopped is about to be told of")
    keyledger.stop()
    state = lambda: {rule["name"]: rule["state"] for rule in prometheus.rules()}["KeyledgerDown"]
    until("KeyledgerDown is pending", lambda: state() in ("pending", "firing"))


def main() -> None:
    binary, prometheus_binary, promtool = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        keyledger = Watched(Path(binary), work)
        try:
            traffic = Traffic(keyledger)
            try:
                prometheus = Prometheus(prometheus_binary, work, keyledger.ops_port)
                try:
                    print("Prometheus, the samples as they are", flush=True)
                    step("the page is as Prometheus likes it")
                    text = page(keyledger)
                    checked = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True)
                    expect((checked.returncode, checked.stdout + checked.stderr), (0, ""))
                    scraped = 'count_over_time(up{job="keyledger"}[1m]) > 5 and on (instance) rate(keyledger_calls_total{method="/authz",code="500"}[30s]) > 0'
                    until("it has scraped several times", lambda: bool(prometheus.query(scraped)))
                    until("it has evaluated all rules", lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
                    known = described()
                    alerts(prometheus, known)
                    panels(prometheus, known, page(keyledger))
                    counts(prometheus)
                    traffic.stop()
                    outage(prometheus, keyledger)
                finally:
                    prometheus.stop()
            finally:
                traffic.stop()
        finally:
            keyledger.kill()


main()
