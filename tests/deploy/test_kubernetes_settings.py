"""deploy/kubernetes/example: `check` accepts both configurations, and secrets are files alone."""

import base64
import os
import secrets
import shutil
from pathlib import Path

import pytest

from otp_service.audit.archive_format.key_files import is_private
from otp_service.clock import now_ms
from otp_service.settings import Settings, find_errors, find_warnings, load_settings
from otp_service.store.embedded import EmbeddedServer
from tests.deploy.kubernetes_example import MOUNT, Example, get_pod, get_variables
from tests.processes import run_command


SHA256_PLACEHOLDER = "SHA-256-OF-THE-API-KEY"
CONFIGURATIONS = {"otp-service": "otp.toml", "otp-sealer": "sealer.toml"}


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Example:
    """Return the example with made-up secrets, and the hash of a made-up API key."""
    example = Example(tmp_path_factory.mktemp("example"))
    path = example.folder / "otp.toml"
    path.write_text(path.read_text().replace(SHA256_PLACEHOLDER, secrets.token_hex(32)))
    return example


def load(example: Example, deployment: str) -> Settings:
    """Return the settings of a Deployment: its configuration, variables and secret files."""

    def read_secret(name: str) -> str:
        assert name.startswith(f"{MOUNT}/")
        return (example.folder / "secrets" / Path(name).name).read_text()

    found = example.find("Deployment", deployment)
    text = example.find("ConfigMap", deployment)["data"][CONFIGURATIONS[deployment]]
    return load_settings(text, get_variables(found), read_secret, cores=32)


@pytest.mark.parametrize("deployment", CONFIGURATIONS)
def test_the_settings_are_safe(example, deployment):
    """What deserves a second look is explained in the files: one provider, and no TLS inside."""
    settings = load(example, deployment)

    assert [] == find_errors(settings)
    warned = {issue.setting for issue in find_warnings(settings, now_ms())}
    assert warned <= {
        *("routing.providers", "service.host", "service.admin_host", "audit.anchor"),
        *("keys.pseudonym", "keys.seal", "limits.SendsPerCountry"),
    }


@pytest.mark.parametrize("deployment", CONFIGURATIONS)
def test_check_accepts_the_configuration(example, deployment, tmp_path):
    """The command itself, with a Redis that runs and the secrets where a copy of the files has them."""
    folder, config = tmp_path / "secrets", tmp_path / "otp.toml"
    shutil.copytree(example.folder / "secrets", folder)
    for path in folder.iterdir():
        path.chmod(0o600)
    archive = str(tmp_path / "archive")
    text = (example.folder / CONFIGURATIONS[deployment]).read_text()
    text = text.replace(MOUNT, str(folder)).replace("/var/lib/otp-service/archive", archive)
    variables = get_variables(example.find("Deployment", deployment))
    if deployment == "otp-service":
        variables["OTP_AUDIT__ARCHIVE"] = archive
        variables["OTP_AUDIT__PUBLIC_KEYS"] = str(example.folder / "audit.pub")
    with EmbeddedServer(tmp_path / "redis") as redis:
        login = ("tls_ca", "username", "password_file")  # which this Redis has not
        lines = [line for line in text.splitlines() if not line.startswith(login)]
        config.write_text("\n".join(lines).replace("rediss://redis.redis:6379/0", redis.url))
        status, output = run_command("check", "--config", str(config), **variables)

    assert 0 == status, output
    assert "Safe to run" in output


def test_the_sealer_has_what_it_shares_with_the_listeners(example):
    """With another state key it takes every event for a forged one; with another limit key it finds none."""
    listeners, sealer = load(example, "otp-service"), load(example, "otp-sealer")

    assert listeners.redis.url == sealer.redis.url
    assert listeners.keys.state == sealer.keys.state
    assert listeners.keys.limit == sealer.keys.limit
    assert listeners.events.maximum == sealer.events.maximum
    assert listeners.audit.archive == sealer.audit.archive
    assert {"alone"} == {listeners.audit.seal, sealer.audit.seal}


def test_each_pod_has_the_secrets_that_its_configuration_names_and_no_other(example):
    """The sealer cannot read codes, and the listeners cannot sign a history."""
    listeners = example.list_mounted_secrets("otp-service")
    sealer = example.list_mounted_secrets("otp-sealer")

    for names, deployment in ((listeners, "otp-service"), (sealer, "otp-sealer")):
        text = example.find("ConfigMap", deployment)["data"][CONFIGURATIONS[deployment]]
        assert names == {line.split('"')[0] for line in text.split(f"{MOUNT}/")[1:]}
    assert "audit.pem" in sealer - listeners
    assert {"pepper-1", "seal-1", "pseudonym-1", "authenticator-1", "gateway"} <= listeners - sealer


def test_a_secret_is_in_a_file_of_a_secret_alone(example):
    """In no variable, which every process of the pod and `kubectl describe` show, and in no ConfigMap."""
    written = [path.read_text().strip() for path in (example.folder / "secrets").iterdir()]
    decoded = {
        base64.b64decode(value).decode().strip()
        for each in example.objects
        if each["kind"] == "Secret"
        for value in each["data"].values()
    }
    others = str([each for each in example.objects if each["kind"] != "Secret"])

    assert set(written) == decoded
    assert [] == [secret for secret in written if secret in others and secret != "made up"]
    assert "secretKeyRef" not in others
    assert "envFrom" not in others


@pytest.mark.parametrize("deployment", CONFIGURATIONS)
def test_a_mounted_secret_is_private(example, deployment):
    """Kubernetes gives it to root and the pod's group: `check` and the signing key require that mode."""
    volumes = get_pod(example.find("Deployment", deployment))["volumes"]
    (mode,) = [each["projected"]["defaultMode"] for each in volumes if "projected" in each]

    assert is_private(os.stat_result((0o100000 | mode, 1, 1, 1, 0, 10001, 10, 0, 0, 0)))


def test_the_keys_are_written_once(example):
    """A second run would make every live code, and every stored token, unreadable."""
    before = {path.name: path.read_text() for path in (example.folder / "secrets").iterdir()}

    again = example.prepare()

    assert 1 == again.returncode
    assert "nothing was changed" in again.stderr
    assert before == {
        path.name: path.read_text() for path in (example.folder / "secrets").iterdir()
    }


def test_a_changed_file_replaces_the_pods(example, tmp_path):
    """The name of the object has a hash, so the pod's specification changes with the content."""
    changed = Example(tmp_path)
    shutil.copytree(example.folder, changed.folder, dirs_exist_ok=True)
    (changed.folder / "secrets" / "pepper-1").write_text("another one")

    before = get_pod(example.find("Deployment", "otp-service"))["volumes"]
    after = get_pod(changed.find("Deployment", "otp-service"))["volumes"]

    assert before != after
    assert get_pod(example.find("Deployment", "otp-sealer")) == (
        get_pod(changed.find("Deployment", "otp-sealer"))
    )
