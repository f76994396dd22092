"""deploy/systemd: what systemd's own programs and the service make of the units."""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from otp_service.audit.archive_format.key_files import is_private
from otp_service.cli.sealer_runner import find_sealer_errors
from otp_service.cli.supervisor import STOP_MARGIN_SECONDS
from otp_service.settings import find_errors, load_settings
from otp_service.settings.service_tables import ServiceSettings
from tests.processes import run_command


SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ["otp-service", "otp-sealer"]
PROGRAM = "/opt/otp-service/bin/otp-service"
CREDENTIALS = "/etc/otp-service/credentials"


def read_unit(name: str) -> dict[str, list[str]]:
    """Return every value of each directive, in order."""
    directives = defaultdict(list)
    text = (SYSTEMD / f"{name}.service").read_text()
    for directive, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        directives[directive].append(value)
    return directives


def read_variables(name: str) -> dict[str, str]:
    """Return the environment of a unit, in which %d is the folder of its credentials."""
    words = " ".join(read_unit(name)["Environment"]).split()
    return dict(word.split("=", 1) for word in words)


def find_program(name: str) -> str:
    """Return its path, or skip the test."""
    return shutil.which(name) or pytest.skip(f"needs {name}: apt install systemd")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of systemd, which needs no running systemd."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(params=UNITS)
def installed_unit(request, tmp_path) -> Path:
    """Return a copy of each unit with a program that is on this machine."""
    unit = tmp_path / f"{request.param}.service"
    text = (SYSTEMD / unit.name).read_text()
    unit.write_text(text.replace(PROGRAM, os.path.realpath(sys.executable)))
    return unit


# ------------------------------------------------------------------------- systemd's own checks


def test_systemd_finds_no_fault_in_a_unit(installed_unit):
    """It warns about an unknown directive and goes on without it: the hardening would be missing."""
    checked = run(find_program("systemd-analyze"), "verify", str(installed_unit))

    assert ("", "", 0) == (checked.stdout, checked.stderr, checked.returncode)


def test_systemd_finds_little_exposure(installed_unit):
    """From 0 to 10; a unit without hardening has 9.2. What remains is the network that it needs."""
    command = ["security", "--offline=true", "--threshold=15", "--no-pager", str(installed_unit)]

    checked = run(find_program("systemd-analyze"), *command)

    assert 0 == checked.returncode, checked.stdout


def test_the_users_of_the_units_are_created(tmp_path):
    """Each unit has a user of its own, and both are in the group that can read the archive."""
    (tmp_path / "etc").mkdir()
    program = find_program("systemd-sysusers")

    created = run(program, f"--root={tmp_path}", str(SYSTEMD / "otp-service.sysusers"))

    assert 0 == created.returncode, created.stderr
    users = re.findall(r"^([\w-]+):", (tmp_path / "etc" / "passwd").read_text(), re.MULTILINE)
    groups = (tmp_path / "etc" / "group").read_text()
    (members,) = re.findall(r"^otp-archive:.*:(.*)$", groups, re.MULTILINE)
    assert {*users} == {user for unit in UNITS for user in read_unit(unit)["User"]}
    assert {*users} == {*members.split(",")}


# ----------------------------------------------------------------------------- the service's part


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_a_command_that_exists(unit):
    """With its own configuration."""
    program, *words, option, path = read_unit(unit)["ExecStart"][0].split()

    assert PROGRAM == program
    assert ("--config", "/etc/otp-service") == (option, str(Path(path).parent))
    assert 0 == run_command(*words, "--help")[0]


def test_the_listeners_have_time_to_stop():
    """Else systemd kills them while requests are in flight."""
    drain = ServiceSettings().drain_seconds
    seconds = 2 * drain + STOP_MARGIN_SECONDS + 1.5 * drain

    assert seconds < int(read_unit("otp-service")["TimeoutStopSec"][0])


@pytest.mark.parametrize("unit", UNITS)
def test_only_the_process_that_stops_the_others_gets_the_signal(unit):
    """The supervisor stops its workers itself; a kernel that kills one of them ends nothing else."""
    directives = read_unit(unit)

    assert ["mixed"] == directives["KillMode"]
    assert ["exec"] == directives["Type"]
    assert ["/bin/kill -HUP $MAINPID"] == directives["ExecReload"]
    assert unit != "otp-service" or ["continue"] == directives["OOMPolicy"]


@pytest.mark.parametrize("unit", UNITS)
def test_each_credential_is_the_file_of_a_setting(unit):
    """And each such setting has its credential, which systemd reads as root."""
    loaded = dict(value.split(":") for value in read_unit(unit)["LoadCredential"])
    used = {value for value in read_variables(unit).values() if "%" in value}

    assert {f"%d/{name}" for name in loaded} == used
    assert {f"{CREDENTIALS}/{name}" for name in loaded} == {*loaded.values()}


def test_only_the_sealer_has_the_key_that_signs():
    """A listener that is broken into cannot write another history."""
    listeners, sealer = read_unit("otp-service"), read_unit("otp-sealer")

    assert "audit.pem" not in (SYSTEMD / "otp-service.service").read_text()
    assert any("audit.pem" in value for value in sealer["LoadCredential"])
    assert "StateDirectory" not in listeners
    assert ["otp-archive"] == listeners["SupplementaryGroups"] == sealer["Group"]
    assert listeners["User"] != sealer["User"]
    assert listeners["Group"] != sealer["Group"]


def test_the_archive_is_where_the_sealer_may_write():
    """Everything else is read-only. UMask and mode leave reading to the group."""
    sealer = read_unit("otp-sealer")
    (folder,) = sealer["StateDirectory"]

    assert f"/var/lib/{folder}" == read_variables("otp-sealer")["OTP_AUDIT__ARCHIVE"]
    assert f"/var/lib/{folder}" == read_variables("otp-service")["OTP_AUDIT__ARCHIVE"]
    assert 0o750 == int(sealer["StateDirectoryMode"][0], 8)
    assert 0o640 == 0o640 & ~int(sealer["UMask"][0], 8)


@pytest.mark.parametrize("unit", UNITS)
def test_the_configuration_of_init_is_safe_with_the_environment_of_a_unit(unit, tmp_path):
    """The steps of README.md: `init`, credentials, and nothing else but the provider's address."""
    config, credentials = tmp_path / "otp.toml", tmp_path / "credentials"
    status, output = run_command(
        *("init", "--config", str(config), "--country", "GB", "--tenant", "shop"),
        *("--archive", "none" if unit == "otp-service" else str(tmp_path / "archive")),
    )
    assert 0 == status, output
    write_credentials(unit, credentials, tmp_path)
    variables = {
        name: value.replace("%d", str(credentials)) for name, value in read_variables(unit).items()
    }
    variables["OTP_AUDIT__ARCHIVE"] = str(tmp_path / "archive")

    settings = load_settings(
        config.read_text(), variables, lambda name: Path(name).read_text(), cores=2
    )

    assert {"providers.gateway.url"} == {issue.setting for issue in find_errors(settings)}
    assert [] == list(find_sealer_errors(settings.audit))
    assert "sesame" == settings.redis.password.reveal()
    assert (unit == "otp-sealer") == (settings.audit.signing_key is not None)


def write_credentials(unit: str, folder: Path, made_by_init: Path) -> None:
    """Write what systemd would copy for a unit."""
    folder.mkdir()
    for credential in read_unit(unit)["LoadCredential"]:
        name = credential.split(":")[0]
        if name == "audit.pem":
            shutil.copy(made_by_init / name, folder / name)
        else:
            (folder / name).write_text("sesame\n")
        (folder / name).chmod(0o400)


def test_a_credential_is_private():
    """systemd 252 gives it to root with mode 0440 and an access list for the user of the unit."""
    root_with_access_list = os.stat_result((0o100440, 1, 1, 1, 0, 0, 10, 0, 0, 0))
    user_without_one = os.stat_result((0o100400, 1, 1, 1, 998, 998, 10, 0, 0, 0))

    assert is_private(root_with_access_list)
    assert is_private(user_without_one)
