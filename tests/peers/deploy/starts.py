"""Starts the real program as the manifests, the unit and the compose file of deploy/ do: their own files byte for byte, on
their paths and ports, as their users, with a root that cannot be written.

Usage: starts.py KEYLEDGER_BINARY WORK        As root, in mount and network namespaces of its own.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import manifests
from harness import STOP_SECONDS, Proxy, Service, expect, get, step
from manifests import DEPLOY, container_of, pod_of
from place import Place

BINARY, WORK = sys.argv[1], Path(sys.argv[2])


@dataclass
class Case:
    """One way to run keyledger."""

    origin: str
    # Where the volume is mounted, and whose it is when it is new: user, group, mode.
    volume: str
    owner: tuple[int, int, int]
    # The first set-up and the server: what each sees, what each runs.
    setup: Place
    init: list[str]
    serves: Place
    serve: list[str]
    environment: dict[str, str]
    # Ports and paths of the probes.
    live: tuple[int, str] = (9464, "/livez")
    ready: tuple[int, str] = (9464, "/readyz")
    # What commands beside the server need to find it, if the environment does not say so.
    inside: list[str] = field(default_factory=list)

    def on(self, name: str) -> Path:
        """Mounts the volume of that name, an empty one if there was none."""
        volume = WORK / name
        if not volume.exists():
            user, group, mode = self.owner
            volume.mkdir()
            os.chown(volume, user, group)
            volume.chmod(mode)
        for place in {id(place): place for place in (self.setup, self.serves)}.values():
            place.bind(self.volume, volume)
        return volume

    def run(self, place: Place, *words: str) -> subprocess.CompletedProcess:
        command = place.command(*words)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def cli(self, *words: str) -> str:
        """A command run beside the server, as by `kubectl exec`."""
        done = self.run(self.serves, "/usr/local/bin/keyledger", *words, *self.inside)
        ended(done, 0, "")
        return done.stdout

    def start(self) -> subprocess.Popen:
        """Starts the server and waits until the probes say that it is alive and ready."""
        self.log = (WORK / "log").open("w+")
        process = subprocess.Popen(
            self.serves.command(*self.serve), env=self.environment, stdout=self.log, stderr=self.log
        )
        for port, path in (self.live, self.ready):
            until = time.monotonic() + 60
            while status(port, path) != 200:
                if process.poll() is not None or time.monotonic() > until:
                    process.kill()
                    raise AssertionError(f"not ready: {Path(self.log.name).read_text()}")
                time.sleep(0.002)
        return process

    def refused(self, why: str) -> None:
        ended(self.run(self.serves, *self.serve), 1, why)

    def init_says(self, what: str) -> None:
        ended(self.run(self.setup, *self.init), 0, what)


def ended(done: subprocess.CompletedProcess, code: int, said: str) -> None:
    """A command has ended so, and said that."""
    if done.returncode != code or said not in done.stderr:
        raise AssertionError(f"expected {code} and {said!r}, found {done.returncode} and {done.stderr!r}")


def status(port: int, path: str) -> int | None:
    try:
        return get(port, path).status
    except OSError:
        return None


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    expect(process.wait(STOP_SECONDS), 0)


def walk(case: Case) -> None:
    """What each of them promises."""
    step("an empty volume is refused, and left as it was")
    volume = case.on("first")
    case.refused("data.must_exist")
    expect(list(volume.iterdir()), [])
    step("the first set-up makes the ledger; run again it touches nothing")
    case.init_says("the first admin's credential is in")
    before = sorted((path, path.stat().st_mtime_ns) for path in volume.rglob("*"))
    case.init_says("nothing was touched")
    expect(sorted((path, path.stat().st_mtime_ns) for path in volume.rglob("*")), before)
    step("then it is alive and ready, under the origin that is pinned, and stops in order")
    process = case.start()
    told = json.loads(case.cli("admin", "status", "--output", "json"))
    expect(told["checkpoint"]["origin"], case.origin)
    stop(process)
    step("and comes back")
    began = time.monotonic()
    process = case.start()
    print(f"    ready again {time.monotonic() - began:.2f} s after its start", flush=True)
    stop(process)
    step("another volume that is empty is refused")
    case.on("second")
    case.refused("data.must_exist")


def key(kind: str, version: int = 1) -> bytes:
    command = [BINARY, "admin", "generate-key", kind, str(version)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def keys() -> dict[str, bytes]:
    return {f"{kind}-1.key": key(kind) for kind in ("pepper", "kek", "signing")}


def certificate(name: str) -> dict[str, bytes]:
    """A certificate as the runbook makes it, under the names that cert-manager gives its files."""
    place = WORK / "tls"
    place.mkdir(exist_ok=True)
    (place / "server.ext").write_text(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for command in (
        f"req -x509 {new} -days 90 -subj /CN=authority -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem",
        f"req {new} -subj /CN=keyledger -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 90 -extfile server.ext -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=place, check=True, capture_output=True)
    names = {"tls.crt": "server.pem", "tls.key": "server.key", "ca.crt": "ca.pem"}
    return {name: (place / file).read_bytes() for name, file in names.items()}


def pod(thing: dict, config: dict[str, str], secrets: dict[str, dict[str, bytes]]) -> Place:
    """The file system of a pod's container."""
    container, volumes = container_of(thing), {volume["name"]: volume for volume in pod_of(thing)["volumes"]}
    place = Place(WORK, BINARY, pod_of(thing)["securityContext"]["runAsUser"])
    for mounted in container["volumeMounts"]:
        path, volume = mounted["mountPath"], volumes.get(mounted["name"], {})
        if "configMap" in volume:
            place.projected(path, {name: text.encode() for name, text in config.items()}, 0o644)
        elif "secret" in volume:
            secret = volume["secret"]
            place.projected(path, secrets[secret["secretName"]], secret["defaultMode"])
        elif "emptyDir" in volume:
            place.temporary(path)
        else:
            place.path(path).mkdir(parents=True)
    # Where the runbook has a backup mounted that is restored.
    place.path("/backup").mkdir()
    place.seal()
    return place


def kubernetes() -> None:
    print("Kubernetes: Job, then StatefulSet", flush=True)
    base, setup = manifests.base(), manifests.setup()
    stateful, job = base.one("StatefulSet"), setup.one("Job")
    config = base.one("ConfigMap")["data"]
    container, (environment, entrypoint, _) = container_of(stateful), manifests.image()
    tls = certificate("localhost")
    secrets = {"keyledger-keys": keys(), "keyledger-tls": tls}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness")]
    group = pod_of(stateful)["securityContext"]["fsGroup"]
    case = Case(
        origin=manifests.origin(config["keyledger.toml"]),
        volume=next(mounted["mountPath"] for mounted in container["volumeMounts"] if mounted["name"] == "data"),
        # As the kubelet leaves a volume: root's, and the group's too.
        owner=(0, group, 0o2770),
        setup=pod(job, config, secrets),
        init=entrypoint + container_of(job)["args"],
        serves=pod(stateful, config, secrets),
        serve=entrypoint + container["args"],
        environment=environment | {variable["name"]: variable["value"] for variable in container["env"]},
        live=(ports[probes[0]["port"]], probes[0]["path"]),
        ready=(ports[probes[1]["port"]], probes[1]["path"]),
    )
    walk(case)
    step("and so is the volume of another installation, whose keys these are not")
    own, case.setup = case.setup, pod(job, config, {"keyledger-keys": keys()})
    case.on("another")
    case.init_says("the first admin's credential is in")
    case.refused("key-encryption key")
    case.setup = own
    new_pepper_and_restore(case, secrets["keyledger-keys"])


def new_pepper_and_restore(case: Case, secret: dict[str, bytes]) -> None:
    step("a pepper that was added to the Secret is taken while it serves")
    case.on("first")
    process = case.start()
    ended(case.run(case.serves, *case.init[:1], "admin", "rotate-pepper"), 1, "PEPPER_NOT_SUPPLIED")
    secret["pepper-2.key"] = key("pepper", 2)
    for place in (case.setup, case.serves):
        place.project_anew("/run/keyledger/keys", secret, 0o440)
    case.cli("admin", "rotate-pepper")
    told = json.loads(case.cli("admin", "status", "--output", "json"))
    expect([pepper["version"] for pepper in told["peppers"]], [1, 2])
    step("and a backup is restored onto an empty volume")
    made = json.loads(case.cli("admin", "backup", "--to", "/tmp/backup", "--output", "json"))
    stop(process)
    case.setup.bind("/backup", case.serves.path("/tmp/backup"))
    case.on("restored")
    words = ("admin", "restore", "--from", "/backup", "--last-head", f"{made['head']}:{made['root']}")
    ended(case.run(case.setup, *case.init[:1], *words), 0, "")
    stop(case.start())


def systemd() -> None:
    print("systemd: the unit", flush=True)
    settings, user = manifests.unit(), 990
    config = (DEPLOY / "systemd" / "keyledger.toml").read_bytes()
    place = Place(WORK, BINARY, user)
    place.file("/etc/keyledger/keyledger.toml", config, 0o640)
    for name, data in keys().items():
        place.file(f"/etc/keyledger/keys/{name}", data, 0o640)
    tls = certificate("keys.example.com")
    place.file("/etc/keyledger/tls/server.pem", tls["tls.crt"], 0o644)
    place.file("/etc/keyledger/tls/server.key", tls["tls.key"], 0o640)
    place.file("/etc/keyledger/tls/ca.pem", tls["ca.crt"], 0o644)
    place.temporary("/tmp")
    (state,) = settings["StateDirectory"]
    place.path(f"/var/lib/{state}").mkdir(parents=True)
    place.seal()
    walk(Case(
        origin=manifests.origin(config.decode()),
        volume=f"/var/lib/{state}",
        owner=(user, user, int(settings["StateDirectoryMode"][0], 8)),
        setup=place,
        init=["/usr/local/bin/keyledger", "admin", "init"],
        serves=place,
        serve=shlex.split(settings["ExecStart"][0]),
        environment=dict(pair.split("=", 1) for pair in settings["Environment"]),
        inside=[
            "--server", "https://keys.example.com:50051", "--ca", "/etc/keyledger/tls/ca.pem",
            "--data-dir", "/var/lib/keyledger/data",
        ],
    ))


def compose() -> None:
    print("compose: setup, then keyledger behind Envoy", flush=True)
    services = manifests.compose()["services"]
    environment, entrypoint, command = manifests.image()
    place = Place(WORK, BINARY, 65532)
    for mounted in services["keyledger"]["volumes"]:
        if mounted["type"] == "bind":
            place.file(mounted["target"], Path(mounted["source"]).read_bytes(), 0o644)
        else:
            volume = mounted["target"]
            place.path(volume).mkdir(parents=True)
    place.temporary("/tmp")
    place.seal()
    case = Case(
        origin=manifests.origin((DEPLOY / "compose" / "keyledger.toml").read_text()),
        volume=volume,
        # As the image has it.
        owner=(65532, 65532, 0o700),
        setup=place,
        init=entrypoint + services["setup"]["command"],
        serves=place,
        serve=entrypoint + command,
        environment=environment,
    )
    walk(case)
    behind_envoy(case, services["edge"])


def behind_envoy(case: Case, edge: dict) -> None:
    case.on("first")
    process, service = case.start(), Service(8001)
    case.cli("account", "put", "acme", "billing", "--plan", "standard")
    made = json.loads(case.cli("key", "create", "acme", "billing", "--name", "k", "--output", "json"))
    bearer = ("authorization", f"Bearer {made['secret']}")
    (mounted,) = edge["volumes"]
    command = ["envoy", "-c", mounted["source"], *edge["command"][3:], "--concurrency", "1", "--use-dynamic-base-id"]
    expect(edge["command"][:3], ["envoy", "-c", mounted["target"]])
    (variable,) = edge["environment"]

    step("without a caller's credential Envoy lets nobody through")
    envoy = Proxy(command, 8000, WORK / "envoy.log", {variable: ""})
    expect(envoy.get("/", bearer).status, 503)
    envoy.stop()
    step("with one, whoever has a key, and nobody while keyledger is stopped")
    made = json.loads(case.cli(
        "admin", "caller", "create", "--name", "edge", "--role", "authenticator", "--output", "json"
    ))
    envoy = Proxy(command, 8000, WORK / "envoy.log", {variable: made["credential"]})
    until_answers(envoy, bearer)
    expect(envoy.get("/").status, 401)
    before = service.reached
    stop(process)
    expect((envoy.get("/", bearer).status, service.reached), (503, before))
    process = case.start()
    until_answers(envoy, bearer)
    envoy.stop()
    stop(process)


def until_answers(envoy: Proxy, bearer: tuple[str, str]) -> None:
    """Until its connection to keyledger stands, Envoy may refuse by its own timeout."""
    until = time.monotonic() + 30
    while envoy.get("/", bearer).status != 200:
        expect(time.monotonic() < until, True)
        time.sleep(0.05)


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for run in (kubernetes, systemd, compose):
        run()
        for volume in ("first", "second"):
            (WORK / volume).rename(WORK / f"{volume}-of-{run.__name__}")


main()
