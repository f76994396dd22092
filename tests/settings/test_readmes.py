"""The README and the pages of docs/ agree with the code: providers, limits, settings, commands."""

import argparse
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import otp_service
from otp_service import cli, telemetry
from otp_service.api.problems import PROBLEM_TYPES
from otp_service.cli import audit
from otp_service.core.keywords import DEFAULT_KEYWORDS, KeywordWords
from otp_service.core.limits import DEFAULT_LIMITS
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.policy import Policy
from otp_service.core.pumping.learned_traffic import LearnedTraffic
from otp_service.settings import Settings, find_errors, load_settings, service_tables
from otp_service.settings.pumping_table import PumpingSettings
from otp_service.settings.tenant_tables import TenantSettings
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers import Provider


PACKAGE = Path(otp_service.__file__).parent
TREE = PACKAGE.parent
DOCS = TREE / "docs"
PAGES = sorted(
    page
    for folder in ("", "docs", "deploy", "bench", "otp_service", "tests")
    for page in (TREE / folder).glob("**/*.md" if folder else "*.md")
)
PROVIDERS = (DOCS / "providers.md").read_text()


def read_table(text):
    """Return the cells of each row of every table of a page, without the column's lines."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| `")
    ]


PROVIDER_ROWS = {row[0]: row for row in read_table(PROVIDERS) if len(row) == 4}
KINDS = {kind.__struct_config__.tag: kind for kind in get_args(Provider)}


def test_readme_has_fewer_than_two_hundred_lines():
    """It is an introduction; reference material is in docs/."""
    assert len((TREE / "README.md").read_text().splitlines()) < 200


def get_heading_anchors(page):
    """Return the fragments by which GitHub links the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(TREE)) for page in PAGES])
def test_every_link_between_pages_leads_to_a_file_and_a_heading(page):
    """A page that moves takes its links along."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in get_heading_anchors(target), link


def test_every_page_of_docs_is_in_its_index():
    """The index lists no other page."""
    linked = re.findall(r"\]\(([a-z-]+\.md)\)", (DOCS / "README.md").read_text())

    assert sorted(linked) == sorted(
        page.name for page in DOCS.glob("*.md") if page.stem != "README"
    )


def test_example_of_a_chain_can_be_run_with(complete_config):
    """Its secrets are read from files instead, and each destination has a route."""
    example = re.findall(r"```toml\n(.*?)```", PROVIDERS, re.DOTALL)[0]
    given = [line for line in example.splitlines() if line]

    settings = load_settings(complete_config(extra=example), {}, lambda _: "worthless", cores=2)

    assert [] == find_errors(settings)
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
def test_every_type_has_a_row_with_its_required_settings(name):
    """A new provider needs a row."""
    fields = msgspec.structs.fields(KINDS[name])

    row = PROVIDER_ROWS[f"`{name}`"]

    required = {field.encode_name for field in fields if field.required}
    known = {field.encode_name for field in fields}
    named = {*re.findall(r"`([a-z_]+)`", row[1])}
    assert required <= named
    assert named <= known


@pytest.mark.parametrize("name", KINDS)
def test_a_row_says_whether_there_are_receipts(name):
    """The row also has the setting of that type that signs them."""
    kind = KINDS[name]
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    receipts = PROVIDER_ROWS[f"`{name}`"][2]

    has_receipts = "parse_callback" in vars(kind) or name == "smpp"  # those use its own session

    assert has_receipts is (receipts != "none")
    assert {*re.findall(r"with `([a-z_]+)`", receipts)} <= names


def test_defaults_of_routing_are_as_documented():
    """Seconds and providers."""
    documented = dict(re.findall(r"`(?:routing\.)?([a-z_]+)` \((\d+)\)", PROVIDERS))

    assert documented == {
        "deadline_seconds": str(service_tables.RoutingSettings().deadline_seconds),
        "max_submissions": str(service_tables.RoutingSettings().max_submissions),
        "connect_timeout": f"{_get_default('connect_timeout'):g}",
        "read_timeout": f"{_get_default('read_timeout'):g}",
    }


def _get_default(name):
    return next(f.default for f in msgspec.structs.fields(HttpSettings) if f.name == name)


def test_every_limit_has_a_row_with_its_default():
    """A new limit needs a row of docs/limits.md."""
    rows = {row[0]: row for row in read_table((DOCS / "limits.md").read_text()) if len(row) == 3}

    assert {name: row[2] for name, row in rows.items()} == {
        f"`{limit}`": ", ".join(map(str, windows)) for limit, windows in DEFAULT_LIMITS.items()
    }
    assert all(rows[name][1] for name in rows)


SECTIONS = {
    "[service]": service_tables.ServiceSettings,
    "[redis]": service_tables.RedisSettings,
    "[policy]": Policy,
    "[hash]": service_tables.HashSettings,
    "[test]": service_tables.TestSettings,
    "[pumping]": PumpingSettings,
    "[messages]": service_tables.MessageSettings,
    "[inbound.keywords.LANG]": KeywordWords,
    "[events]": service_tables.EventSettings,
    "[audit]": service_tables.AuditSettings,
    "[telemetry]": service_tables.TelemetrySettings,
    "[tenants.NAME]": TenantSettings,
    "[routing]": service_tables.RoutingSettings,
}
SPECIAL_DEFAULTS = {
    "[test] fixed_codes": "-",
    "[service] workers": "cores",
    "[hash] workers": "cores ÷ service.workers",
    "[messages] languages": "all",
    "[tenants.NAME] purposes": "all",
}
"""Defaults that no literal of the struct shows."""


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_a_row_with_its_default(section):
    """A new setting needs a row of docs/configuration.md."""
    page = (DOCS / "configuration.md").read_text()
    (text,) = (
        part
        for part in re.split(r"^### ", page, flags=re.MULTILINE)
        if f"`{section}`" in part.partition("\n")[0]
    )

    documented = {row[0].strip("`"): row[1].strip("`") for row in read_table(text)}

    assert documented == {
        field.encode_name: SPECIAL_DEFAULTS.get(f"{section} {field.encode_name}")
        or _format_default(field)
        for field in msgspec.structs.fields(SECTIONS[section])
    }


def _format_default(field):
    if field.required:
        return "required"
    if field.default in {None, msgspec.NODEFAULT} or not (field.default or field.default == 0):
        return "-"
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def test_sections_of_the_settings_are_all_documented():
    """A new section needs a heading of docs/configuration.md."""
    page = (DOCS / "configuration.md").read_text()
    headings = " ".join(re.findall(r"^### (.*)$", page, re.MULTILINE))

    assert {*re.findall(r"`\[?([a-z]+)", headings)} == {*Settings.__struct_encode_fields__}


def test_default_keywords_are_as_documented():
    """A new word is one that a person can look up."""
    page = (DOCS / "configuration.md").read_text()
    rows = re.findall(r"^\| ([a-z]{2}) \| (.*) \| (.*) \| (.*) \|$", page, re.MULTILINE)

    documented = {
        language: KeywordWords(*(tuple(cell.split(", ")) if cell != "-" else () for cell in cells))
        for language, *cells in rows
    }

    assert documented == DEFAULT_KEYWORDS


def test_every_problem_has_a_row_with_its_status():
    """A new problem type needs a row of docs/api-guide.md."""
    rows = [row for row in read_table((DOCS / "api-guide.md").read_text()) if len(row) == 4]

    documented = {name: row[1] for row in rows for name in re.findall(r"`([a-z-]+)`", row[0])}

    assert documented == {name: str(kind.status) for name, kind in PROBLEM_TYPES.items()}


@pytest.mark.parametrize("page", ["README.md", "docs/api-guide.md", "docs/limits.md"])
def test_problems_in_examples_have_the_titles_of_the_service(page):
    """An example is copied from a run; a reworded title is reworded there too."""
    text = re.sub(r"\n +", "", (TREE / page).read_text())

    examples = re.findall(r'"type":"/problems/([a-z-]+)","title":"([^"]+)","status":(\d+)', text)

    assert examples
    for name, title, status in examples:
        assert (title, status) == (PROBLEM_TYPES[name].title, str(PROBLEM_TYPES[name].status))


def test_metrics_that_the_pages_name_exist():
    """A renamed metric is renamed in docs/ too."""
    made = telemetry.Metrics("1", tenants=["shop"], providers=["p1"])
    made.brake.set_day_spend(0, 1)  # some metrics are created by their first value
    made.brake.set_learned_traffic(LearnedTraffic())
    registries = (made._registry, made._own_registry)
    collected = [names for each in registries for names in each._collector_to_names.values()]
    names = {name for names in collected for name in names}
    names |= {f"otp_audit_{name}" for name in telemetry.metrics.ARCHIVE_METRICS}
    names |= telemetry.process_metrics.PROCESS_METRICS.keys()
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))

    # Packages, and the fixtures of the Python client's plugin, are no metrics.
    documented = {*re.findall(r"\botp_(?!service|client\b|inbox\b)[a-z_0-9]+\b", text)}

    assert documented <= names


def test_every_file_of_the_event_log_is_on_its_map():
    """In audit/README.md, once."""
    folder = PACKAGE / "audit"
    map_of_it = (folder / "README.md").read_text().split("## The map")[1].split("\n## ")[0]
    rows = "".join(line.split("|")[1] for line in map_of_it.splitlines() if line.startswith("|"))
    there = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    there += [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]

    assert sorted(re.findall(r"`([\w./]+)`", rows)) == sorted(there)


def test_table_of_commands_has_each_of_them():
    """A row is a group of commands; its first command shows whether the group is `audit`."""
    page = (DOCS / "operation.md").read_text()
    table = page.split("| command | does |\n|---|---|\n")[1].split("\n\n")[0]
    named = set()
    for line in table.splitlines():
        first, *others = re.findall(r"`([^`]+)`", line.split("|")[1])
        group, name = first.split(" ") if first.startswith("audit ") else ("", first)
        named |= {(group, each.split(" ")[0]) for each in (name, *others)}
    modules = [import_module(f"otp_service.cli.{name}") for name in {*cli.COMMAND_MODULES.values()}]

    top, inner = _list_commands(modules), _list_commands(audit.COMMAND_MODULES)

    assert top == {*cli.COMMAND_MODULES}

    assert named == {("", name) for name in top - {"audit"}} | {("audit", name) for name in inner}


def _list_commands(modules):
    subparsers = argparse.ArgumentParser().add_subparsers()
    for module in modules:
        module.register_commands(subparsers)
    return {*subparsers.choices}
