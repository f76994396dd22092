"""deploy/compose.yaml: the results of its steps, permissions and settings."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from otp_service.app.asgi import build_admin_allowlist
from otp_service.audit.archive_format.key_files import read_key
from otp_service.audit.archive_format.seals import parse_public_keys
from otp_service.cli.command import DEFAULT_CONFIG_PATH
from otp_service.clock import now_ms
from otp_service.core.ip_address import is_wildcard
from otp_service.settings import find_errors, find_warnings, load_settings
from otp_service.settings.service_tables import ServiceSettings


DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
IMAGE = (DEPLOY.parent / "Dockerfile").read_text()


class PreparedFolder(NamedTuple):
    """A folder after the steps of compose.yaml, and the owners that they set."""

    folder: Path
    owners: dict[str, int]

    def is_readable_by(self, name: str, user: int) -> bool:
        """Return whether a user may read a file."""
        mode = (self.folder / name).stat().st_mode
        return self.owners.get(name) == user or bool(mode & stat.S_IROTH)

    def is_owned_by(self, name: str, user: int) -> bool:
        """Return whether only this user may read a file."""
        mode = (self.folder / name).stat().st_mode
        return self.owners.get(name) == user and not stat.S_IMODE(mode) & 0o077


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory):
    """The steps of the comment, with a `chown` that only records the owner."""
    if missing := [name for name in ("openssl", "sha256sum") if not shutil.which(name)]:
        pytest.skip(f"needs {' and '.join(missing)}")
    folder, tools = tmp_path_factory.mktemp("deploy"), tmp_path_factory.mktemp("tools")
    write_tool(tools / "sudo", f'echo "$@" >>{tools}/sudone')
    write_tool(tools / "otp-service", f'exec {sys.executable} -m otp_service "$@"')
    for name in ("redis.conf", "redis.acl.example"):
        shutil.copyfile(DEPLOY / name, folder / name)
    steps = re.findall("^#   (.*)", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    script = "\n".join(["otp-service init --country GB", *steps])
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environ = {"PATH": path, "PYTHONPATH": str(DEPLOY.parent)}
    subprocess.run(["sh", "-ec", script], cwd=folder, env=environ, check=True, timeout=60)
    done = [line.split() for line in (tools / "sudone").read_text().splitlines()]
    assert {"chown"} == {words[0] for words in done}
    return PreparedFolder(folder, {name: int(words[1]) for words in done for name in words[2:]})


def write_tool(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def get_user_id(service):
    """Return the user id of a service."""
    user = COMPOSE["services"][service].get("user")
    return int((user or re.search(r"^USER (\S+)", IMAGE, re.MULTILINE)[1]).split(":")[0])


def list_mounts(service):
    """Return the mounts as (source, target, mode)."""
    volumes = COMPOSE["services"][service]["volumes"]
    return [(*volume.split(":"), "rw")[:3] for volume in volumes]


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_each_secret_is_readable_by_its_user_only(prepared_folder, service):
    """A signing key that others can read would be refused."""
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}

    for name in COMPOSE["services"][service]["secrets"]:
        assert prepared_folder.is_owned_by(files[name].removeprefix("./"), get_user_id(service)), (
            name
        )


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_each_mounted_file_exists_and_is_readable(prepared_folder, service):
    """Docker creates a folder for a missing file, and `umask 077` makes files unreadable for the container."""
    files = [mount for mount in list_mounts(service) if mount[0].startswith("./")]

    assert files
    for what, _, how in files:
        assert prepared_folder.is_readable_by(what.removeprefix("./"), get_user_id(service)), what
        assert how == "ro"


def test_every_image_can_be_pinned_by_its_digest():
    """A tag can be moved: `.env` replaces each image without a change of a file."""
    images = re.findall(r"^FROM (\S+)", IMAGE, re.MULTILINE)
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", IMAGE, re.MULTILINE)[1]

    assert {"${PYTHON_IMAGE}"} == set(images)
    assert COMPOSE["services"]["otp"]["build"]["args"]["PYTHON_IMAGE"] == (
        f"${{PYTHON_IMAGE:-{default}}}"
    )
    assert COMPOSE["services"]["redis"]["image"].startswith("${REDIS_IMAGE:-redis:")


def test_the_admin_listener_is_published_on_loopback_alone():
    """R63: its metrics need no key. The page of the security team is opened on this machine."""
    services = COMPOSE["services"]
    published = [
        port.rsplit(":", 2) for service in services.values() for port in service.get("ports", ())
    ]

    assert [["127.0.0.1", "8000", "8000"], ["127.0.0.1", "8001", "8001"]] == published
    environment = services["otp"]["environment"]
    service = ServiceSettings(
        admin_host=environment["OTP_SERVICE__ADMIN_HOST"],
        admin_hosts=tuple(json.loads(environment["OTP_SERVICE__ADMIN_HOSTS"])),
    )
    assert 8001 == service.admin_port
    assert is_wildcard(service.admin_host)
    assert build_admin_allowlist(service).allows_host("127.0.0.1")
    assert not build_admin_allowlist(service).allows_host("rebound.example")


def test_no_other_container_is_on_the_network_of_the_published_ports():
    """It would reach the admin listener, and Redis has no way out."""
    joined = {name: {*service["networks"]} for name, service in COMPOSE["services"].items()}

    assert {"otp": {"inside", "outside"}, "redis": {"inside"}} == joined
    assert COMPOSE["networks"]["inside"]["internal"]


def test_commands_in_the_container_find_the_configuration():
    """`docker compose exec otp otp-service status` needs no path, and no program on the host."""
    targets = [target for _, target, _ in list_mounts("otp")]

    assert f"{COMPOSE['services']['otp']['working_dir']}/{DEFAULT_CONFIG_PATH}" in targets


def test_the_settings_of_the_container_are_safe_and_seal_the_archive(prepared_folder):
    """Only the provider is left to fill in; what deserves a second look is explained in the file."""
    settings = load_settings(
        (prepared_folder.folder / "otp.toml").read_text(),
        COMPOSE["services"]["otp"]["environment"],
        lambda name: (prepared_folder.folder / "secrets" / Path(name).name).read_text(),
        cores=2,
    )
    now = now_ms()

    assert {"providers.gateway.url"} == {fault.setting for fault in find_errors(settings)}
    assert {"routing.providers", "audit.seal", "service.admin_host"} == {
        fault.setting for fault in find_warnings(settings, now)
    }
    mounted = {where: what for what, where, _ in list_mounts("otp")}
    secret = COMPOSE["secrets"][Path(settings.audit.signing_key).name]["file"]
    key = read_key(prepared_folder.folder / secret)
    public = (prepared_folder.folder / mounted[settings.audit.public_keys]).read_text()
    assert [str(key.public)] == [str(public_key) for public_key in parse_public_keys(public)]


def test_prometheus_may_ask_for_the_metrics_by_the_name_of_the_service():
    """It joins the network and sends the service's name as Host; other names are refused."""
    environment = COMPOSE["services"]["otp"]["environment"]
    (name,) = [name for name in COMPOSE["services"] if name != "redis"]
    service = ServiceSettings(
        admin_host=environment["OTP_SERVICE__ADMIN_HOST"],
        admin_hosts=tuple(json.loads(environment["OTP_SERVICE__ADMIN_HOSTS"])),
    )

    allowlist = build_admin_allowlist(service)

    assert allowlist.allows_host(name)
    assert not allowlist.allows_host("rebound.example")


def test_archive_is_a_volume_of_the_user_who_seals():
    """The image has the folder, so that root does not own a new volume."""
    archive = COMPOSE["services"]["otp"]["environment"]["OTP_AUDIT__ARCHIVE"]
    install = re.search(r"^RUN install -d -o (\d+) -g (\d+) -m (\d+) (\S+)$", IMAGE, re.MULTILINE)

    ((what, how),) = [(what, how) for what, where, how in list_mounts("otp") if where == archive]

    assert what in COMPOSE["volumes"]
    assert "rw" == how
    assert (int(install[1]), install[4]) == (get_user_id("otp"), archive)
    assert 0 == int(install[3], 8) & 0o007
    assert IMAGE.index("FROM", 10) < install.start() < IMAGE.index("USER")


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_nothing_else_can_be_written_or_gained(service):
    """The root file system is read-only, and no process is or becomes root."""
    settings = COMPOSE["services"][service]

    assert settings["read_only"] is True
    assert ["ALL"] == settings["cap_drop"]
    assert "no-new-privileges:true" in settings["security_opt"]
    assert 0 < get_user_id(service)


def test_the_grace_period_is_long_enough_to_stop():
    """Workers, admin listener and sealer each have their own timeout."""
    grace = COMPOSE["services"]["otp"]["stop_grace_period"]

    assert 3 * ServiceSettings().drain_seconds < int(grace.removesuffix("s"))
