"""The files of deploy/, read as what runs them reads them."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"

# Where the harness of the tests with proxies is. Not by PYTHONPATH, which the programs run from here would have too.
sys.path.append(str(Path(__file__).parents[1] / "proxies"))


class Kustomization:
    """What kustomize makes of a directory, as far as these directories use it: resources, and files as ConfigMaps."""

    KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator"}

    def __init__(self, place: Path) -> None:
        kustomization = yaml.safe_load((place / "kustomization.yaml").read_text())
        if unknown := kustomization.keys() - self.KNOWN:
            raise AssertionError(f"{place}: this check knows nothing of {unknown}")
        self.namespace = kustomization["namespace"]
        self.objects: list[dict] = []
        self.used = {place / "kustomization.yaml"}
        for resource in kustomization["resources"]:
            if (place / resource).is_dir():
                inner = Kustomization((place / resource).resolve())
                self.objects += inner.objects
                self.used |= inner.used
            else:
                self.objects += yaml.safe_load_all((place / resource).read_text())
                self.used.add(place / resource)
        for generator in kustomization.get("configMapGenerator", []):
            # Names of files lead nowhere else: kustomize refuses that.
            files = {Path(name).name: (place / name) for name in generator["files"]}
            data = {name: path.read_text() for name, path in files.items()}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
            self.objects.append(config_map)
            self.used |= set(files.values())

    def one(self, kind: str) -> dict:
        (found,) = [found for found in self.objects if found["kind"] == kind]
        return found


def base() -> Kustomization:
    return Kustomization(DEPLOY / "kubernetes" / "base")


def setup() -> Kustomization:
    return Kustomization(DEPLOY / "kubernetes" / "setup")


def pod_of(thing: dict) -> dict:
    return thing["spec"]["template"]["spec"]


def container_of(thing: dict) -> dict:
    (container,) = pod_of(thing)["containers"]
    return container


def compose() -> dict:
    """The compose file as Docker's own program reads it, the service of the first set-up too."""
    command = ["docker-compose", "--file", DEPLOY / "compose" / "compose.yaml", "--profile", "setup"]
    done = subprocess.run([*command, "config", "--format", "json"], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def image() -> tuple[dict[str, str], list[str], list[str]]:
    """Environment, entrypoint and command of the image."""
    last = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    found = dict(line.split(" ", 1) for line in last.splitlines() if line[:3].isupper())
    environment = dict(pair.split("=", 1) for pair in found["ENV"].split())
    return environment, json.loads(found["ENTRYPOINT"]), json.loads(found["CMD"])


def unit() -> dict[str, list[str]]:
    """The settings of the unit's [Service]."""
    service = (DEPLOY / "systemd" / "keyledger.service").read_text().partition("\n[Service]\n")[2].partition("\n[")[0]
    settings: dict[str, list[str]] = {}
    for line in service.splitlines():
        if line and not line.startswith("#"):
            name, value = line.split("=", 1)
            settings.setdefault(name, []).append(value)
    return settings


def origin(text: str) -> str:
    """The origin that a configuration pins, which must say that the ledger is there."""
    config = tomllib.loads(text)
    if config["data"]["must_exist"] is not True:
        raise AssertionError("data.must_exist is not set")
    return config["audit"]["origin"]
