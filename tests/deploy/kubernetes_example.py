"""deploy/kubernetes/example after the steps of its README, and what kubectl makes of it."""

import os
import re
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml


KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
MOUNT = "/run/secrets/otp"
"""The folder of the secrets in a container."""

TYPED_BY_HAND = {"gateway": "Bearer sesame", "redis-password": "sesame", "redis-ca.pem": "made up"}
"""The secrets that prepare.sh leaves to the operator."""

Object = dict[str, Any]


class Example:
    """A copy of the folder with made-up secrets."""

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in ("kubectl", "openssl") if not shutil.which(name)]:
            pytest.skip(f"needs {' and '.join(missing)}")
        self._root = folder / "kubernetes"
        shutil.copytree(KUBERNETES, self._root, ignore=shutil.ignore_patterns("secrets"))
        self.folder = self._root / "example"
        self.prepare()
        for name, secret in TYPED_BY_HAND.items():
            (self.folder / "secrets" / name).write_text(secret)

    def prepare(self) -> "subprocess.CompletedProcess[str]":
        """Run prepare.sh with this service's program."""
        program = self._root.parent / "otp-service"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m otp_service "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        environ = {"PATH": path, "PYTHONPATH": str(KUBERNETES.parents[1])}
        return subprocess.run(
            [self.folder / "prepare.sh"],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def add_component(self) -> None:
        """Turn the line for the shared archive on."""
        path = self.folder / "kustomization.yaml"
        text = path.read_text()
        assert "\n# components:" in text
        path.write_text(text.replace("\n# components:", "\ncomponents:"))

    def render(self) -> list[Object]:
        """Return the objects that `kubectl apply -k` would send."""
        command = ["kubectl", "kustomize", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert 0 == done.returncode, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    @cached_property
    def objects(self) -> list[Object]:
        """The rendered objects."""
        return self.render()

    def find(self, kind: str, name: str) -> Object:
        """Return one object; the hash of its content at the end of a name does not count."""
        (found,) = [
            each
            for each in self.objects
            if each["kind"] == kind
            and re.sub(r"-[a-z0-9]{10}$", "", each["metadata"]["name"]) == name
        ]
        return found

    def list_mounted_secrets(self, deployment: str) -> set[str]:
        """Return the names of the files that a Deployment's pods have in MOUNT."""
        volumes = get_pod(self.find("Deployment", deployment))["volumes"]
        (sources,) = [each["projected"]["sources"] for each in volumes if "projected" in each]
        names = {source["secret"]["name"] for source in sources}
        secrets = [each for each in self.objects if each["kind"] == "Secret"]
        return {
            name for each in secrets if each["metadata"]["name"] in names for name in each["data"]
        }


def get_pod(deployment: Object) -> Object:
    """Return the specification of its pods."""
    pod: Object = deployment["spec"]["template"]["spec"]
    return pod


def get_container(deployment: Object) -> Object:
    """Return their only container."""
    (container,) = get_pod(deployment)["containers"]
    result: Object = container
    return result


def get_variables(deployment: Object) -> dict[str, str]:
    """Return the environment of their container."""
    return {each["name"]: each["value"] for each in get_container(deployment).get("env", [])}
