"""`otp-service pumping allow`, `block` and `lift`, on a real Redis."""

import argparse
import asyncio
import re
import shlex

import pytest

from otp_service.audit.reports.anomaly import ANOMALY_GUIDES
from otp_service.cli.common import read_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.cli.pumping_group import register_commands
from tests.processes import REPOSITORY_ROOT
from tests.store import redis_servers


UNTIL = r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
FOR = ("--for", "6h", "--reason", "INC-4711")

PAGES = (
    *sorted(REPOSITORY_ROOT.glob("docs/*.md")),
    REPOSITORY_ROOT / "deploy/alerts.yml",
    REPOSITORY_ROOT / "otp_service/api/audit_ui/templates/last_day.html",
)
COMMAND_PATTERN = re.compile(r"otp-service (pumping (?:allow|block|lift) [a-z-]+[:@][^`'<\n]*)")


@pytest.fixture
def run_pumping(run_otp, config):
    """Run a command of the group with the configuration."""

    def run_command(name, *words, stdin=""):
        return run_otp("pumping", name, "--config", config, *words, stdin=stdin)

    return run_command


@pytest.fixture
def list_overrides(config):
    """Return the overrides as a process of the service reads them: their scope and action."""

    async def load():
        async with create_cli_app(read_settings(config)) as app:
            return (await app.scope_overrides.load_overrides()).overrides.items

    return lambda: [(item.bucket.subject, item.action) for item in asyncio.run(load())]


def test_a_scope_is_opened_closed_and_lifted(run_pumping, list_overrides):
    """Each replaces the one before, and a second lift changes nothing."""
    opened = run_pumping("allow", "country:gb@shop", *FOR)
    assert (0, "") == (opened.exit_code, opened.err)
    line = (
        rf"country:GB@shop is open {UNTIL} \(6 h\)\. Every process follows within some seconds\.\n"
    )
    assert re.fullmatch(line, opened.out)

    closed = run_pumping("block", "country:GB@shop", *FOR)
    assert closed.out.startswith("country:GB@shop is closed until ")
    assert [("GB", "closed")] == list_overrides()

    lifted, again = (run_pumping("lift", "country:GB@shop") for _ in range(2))
    assert lifted.out.startswith("country:GB@shop is closed no more.")
    assert again.out == "country:GB@shop is neither open nor closed: nothing was changed.\n"
    assert (0, 0) == (lifted.exit_code, again.exit_code)


def test_an_address_is_read_from_standard_input_alone(run_pumping, list_overrides):
    """It is personal data, and the shell's history keeps arguments."""
    scope = "address:2001:db8::1@shop"

    refused = run_pumping("block", scope, *FOR)
    assert 1 == refused.exit_code
    assert "write the scope to standard input, and '-' as SCOPE" in refused.err
    assert "2001" not in refused.err

    assert 0 == run_pumping("block", "-", *FOR, stdin=f"{scope}\n").exit_code
    assert [("2001:db8::/64", "closed")] == list_overrides()
    assert 1 == run_pumping("block", "-", *FOR, stdin=f"{scope}\noverall\n").exit_code


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("allow", "GB", *FOR), "Write one like these: range:+44740012"),
        (("allow", "country:GB@bank", *FOR), "The tenants are shop."),
        (("allow", "country:US@shop", *FOR), "shop sends nothing to US. Its countries are GB"),
        (("block", "overall", *FOR), "Close a country of a tenant"),
        (("allow", "overall", "--for", "8d", "--reason", "x"), "at most 7 d. Repeat the command"),
        (("block", "range:+44740012", "--for", "13h", "--reason", "x"), "at most 12 h."),
        (("block", "range:+44740012", "--for", "59s", "--reason", "x"), "at least 1 min"),
        (("allow", "overall", "--for", "six", "--reason", "x"), "write a time like 30m, 6h or 2d"),
        (("allow", "overall", "--for", "6h", "--reason", " "), "1 to 200 printable characters"),
        (("allow", "overall", "--for", "6h", "--reason", "a\x1b[2J"), "1 to 200 printable"),
        (("allow", "overall", "--for", "6h", "--reason", "x" * 201), "1 to 200 printable"),
        (("allow", "overall", "--for", "6h", "--reason", "+44 7400 123456"), "phone number"),
    ],
)
def test_wrong_arguments_are_refused_with_the_remedy(run_pumping, words, remedy):
    """Nothing is printed but the error, and it has no number."""
    ended = run_pumping(*words)

    assert (1, "") == (ended.exit_code, ended.out)
    assert remedy in ended.err
    assert "123456" not in ended.err


def test_why_shows_that_a_scope_is_closed_and_until_when(run_pumping, run_otp, config):
    """In record mode too, and the command reads what operators have decided."""
    number = "+447400123456"
    assert 0 == run_otp("why", "--config", config, "-", stdin=number).exit_code
    assert 0 == run_pumping("block", "country:GB@shop", *FOR).exit_code

    refused = run_otp("why", "--config", config, "-", stdin=number)

    assert 1 == refused.exit_code
    heading, scope, _ = refused.out.splitlines()
    assert re.search(rf"at shop: refused {UNTIL} \((5 h 59 min|6 h)\)$", heading)
    assert scope.lstrip().startswith("UnverifiedPerCountryAndTenant  0.00 of ")


@pytest.mark.parametrize("record", ["brake", "brake-overrides"])
def test_no_command_decides_without_a_record_that_is_forged(
    run_pumping, run_otp, config, server, record
):
    """Processes that have read it before keep it: the number is still refused, and 'admitted' is false."""
    run_pumping("block", "country:GB@shop", *FOR)
    with redis_servers.open_client(server) as client:
        client.set(f"{{00}}:{record}", b"00000009forged")

    status = run_pumping("status")
    why = run_otp("why", "--config", config, "-", stdin="+447400123456")

    for ended in (status, why):
        assert (1, "") == (ended.exit_code, ended.out)
        assert "a record in Redis has an invalid MAC" in ended.err
        assert "in force" not in ended.err  # a command has read nothing before


@pytest.mark.parametrize("words", [("pumping", "status"), ("why", "-")], ids=" ".join)
def test_no_command_decides_without_a_record_whose_key_it_does_not_have(
    run_pumping, run_otp, config, words
):
    """It would show a scope as admitted that every process has closed."""
    run_pumping("block", "country:GB@shop", *FOR)
    text = config.read_text()
    assert 'limit = [{ id = "l1"' in text
    config.write_text(text.replace('limit = [{ id = "l1"', 'limit = [{ id = "l2"'))

    ended = run_otp(*words, "--config", config, stdin="+447400123456")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "a record is under limit key 'l1'" in ended.err
    assert "put it back" in ended.err


def test_each_command_that_pages_and_findings_print_is_complete():
    """A person copies it during an attack. Seen to fail: that of a finding had no --reason."""
    texts = [guide.remedy for guide in ANOMALY_GUIDES.values()]
    texts += [path.read_text() for path in PAGES]
    printed = [command for text in texts for command in COMMAND_PATTERN.findall(text)]
    parser = argparse.ArgumentParser()
    register_commands(parser.add_subparsers())

    scopes = [parser.parse_args(shlex.split(command)).scope for command in printed]

    assert {"range:NUMBER", "range:+44740012", "country:GB@shop"} <= set(scopes)
