"""What the READMEs say of providers and commands, and of where things are, is so."""

import argparse
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import otp_service
from otp_service import cli
from otp_service.cli import audit
from otp_service.core.phone_number import PhoneNumber
from otp_service.settings import find_errors, load_settings
from otp_service.settings.model import RoutingSettings
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers import Provider


PACKAGE = Path(otp_service.__file__).parent
README = (PACKAGE.parent / "README.md").read_text()
ROWS = {
    cells[1]: cells
    for line in README.splitlines()
    if (cells := re.split(r" *\| *", line))[0] == "" and len(cells) == 6
}
KINDS = {kind.__struct_config__.tag: kind for kind in get_args(Provider)}


def test_example_of_a_chain_can_be_run_with(complete_config, now_ms):
    """As it stands, but for secrets that are in files; each destination has the way that it says."""
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    given = [line for line in example.splitlines() if line]

    settings = load_settings(complete_config(extra=example), {}, lambda _: "worthless", cores=2)

    assert [] == find_errors(settings, now_ms)
    assert 10 >= len(given)
    ways = {
        "+33612345678": ("FR", ("twilio", "vonage", "sinch")),
        "+12025550123": ("US", ("twilio",)),
        "+447911123456": ("GB", {"vonage": 70, "sinch": 30}),
        "+447400123456": ("GB", ("sinch", "vonage")),
    }
    routes = settings.build_routes()
    assert {
        number: routes.find_route(PhoneNumber(number, country, 0))
        for number, (country, _) in ways.items()
    } == {number: way for number, (_, way) in ways.items()}


@pytest.mark.parametrize("name", KINDS)
def test_every_type_has_a_row_with_what_it_has_to_be_given(name):
    """Whoever adds a provider adds its row."""
    fields = msgspec.structs.fields(KINDS[name])

    row = ROWS[f"`{name}`"]

    required = {field.encode_name for field in fields if field.required}
    known = {field.encode_name for field in fields}
    named = {*re.findall(r"`([a-z_]+)`", row[2])}
    assert required <= named
    assert named <= known


@pytest.mark.parametrize("name", KINDS)
def test_a_row_says_of_receipts_whether_there_are_any(name):
    """And how they are signed, by a setting that there is."""
    kind = KINDS[name]
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    said = ROWS[f"`{name}`"][3]

    has_receipts = "parse_receipts" in vars(kind) or name == "smpp"  # which come in its own session

    assert has_receipts is (said != "none")
    assert {*re.findall(r"with `([a-z_]+)`", said)} <= names


def test_defaults_of_routing_are_those_that_it_says():
    """Seconds and providers."""
    said = dict(re.findall(r"`(?:routing\.)?([a-z_]+)` \((\d+)\)", README))

    assert said == {
        "deadline_seconds": str(RoutingSettings().deadline_seconds),
        "max_submissions": str(RoutingSettings().max_submissions),
        "connect_timeout": f"{_default('connect_timeout'):g}",
        "read_timeout": f"{_default('read_timeout'):g}",
    }


def _default(name):
    return next(f.default for f in msgspec.structs.fields(HttpSettings) if f.name == name)


def test_every_file_of_the_event_log_is_on_its_map():
    """In audit/README.md, once and nowhere else than where it is."""
    folder = PACKAGE / "audit"
    map_of_it = (folder / "README.md").read_text().split("## The map")[1].split("\n## ")[0]
    rows = "".join(line.split("|")[1] for line in map_of_it.splitlines() if line.startswith("|"))
    there = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    there += [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]

    assert sorted(re.findall(r"`([\w./]+)`", rows)) == sorted(there)


def test_table_of_commands_has_each_of_them():
    """A row is for commands that belong together; its first one says if they are the audit log's."""
    table = README.split("| command | does |\n|---|---|\n")[1].split("\n\n")[0]
    named = set()
    for line in table.splitlines():
        first, *others = re.findall(r"`([^`]+)`", line.split("|")[1])
        group, name = first.split(" ") if first.startswith("audit ") else ("", first)
        named |= {(group, each.split(" ")[0]) for each in (name, *others)}
    modules = [import_module(f"otp_service.cli.{name}") for name in cli.COMMAND_MODULES]

    top, inner = _commands(modules), _commands(audit.COMMAND_MODULES)

    assert named == {("", name) for name in top - {"audit"}} | {("audit", name) for name in inner}


def _commands(modules):
    subparsers = argparse.ArgumentParser().add_subparsers()
    for module in modules:
        module.register_commands(subparsers)
    return {*subparsers.choices}
