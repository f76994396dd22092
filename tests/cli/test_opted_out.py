"""`otp-service opted-out`: list, export and import, on a real Redis."""

import getpass
import json
import re

import pytest

from otp_service.cli import opted_out
from tests.store import redis_servers


ONE, OTHER = "+447400123456", "+447400123457"
MASKED = "+44********56"
AT = "2026-11-29T12:00:00.000Z"
LINE = json.dumps(
    {
        "reason": "opted_out",
        "phone_number": ONE,
        "tenant": "shop",
        "provider": "p1",
        "own_number": "447400999001",
        "at": AT,
    },
    separators=(",", ":"),
)


@pytest.fixture
def run_opted_out(run_otp, config):
    """Run the command with the configuration."""
    return lambda *words, stdin="": run_otp("opted-out", "--config", config, *words, stdin=stdin)


def test_an_import_is_listed_refuses_sends_and_is_lifted_by_unblock(
    run_otp, config, run_opted_out, read_events
):
    """The list shows the number masked, and whom the person has answered."""
    assert "No number is opted out.\n" == run_opted_out().out

    imported = run_opted_out("import", stdin=LINE)

    assert (0, "") == (imported.exit_code, imported.out)
    assert "Lines: 1 read, 0 refused, 0 on the list before, 1 imported.\n" == imported.err
    header, row = run_opted_out().out.splitlines()
    assert ["NUMBER", "TENANT", "PROVIDER", "OWN", "NUMBER", "SINCE"] == header.split()
    assert [MASKED, "shop", "p1", "447400999001", "2026-11-29T12:00:00Z"] == row.split()
    (event,) = read_events(ONE)
    assert {
        "type": "number.opted_out",
        "tenant": "shop",
        "provider": "p1",
        "own_number": "447400999001",
        "by": getpass.getuser(),
        "key_id": "cli",
    }.items() <= event.items()
    assert "keyword" not in event

    assert 0 == run_otp("unblock", "--config", config, stdin=ONE).exit_code
    assert "No number is opted out.\n" == run_opted_out().out


def test_an_export_can_be_imported_elsewhere_and_repeated(run_otp, config, run_opted_out, server):
    """Blocks are in it too; nothing of an entry is lost, and a repeat adds nothing."""
    run_opted_out("import", stdin=f"{LINE}\n" + json.dumps({"phone_number": OTHER}))
    run_otp("block", "--config", config, stdin=ONE)

    exported = run_opted_out("export")

    lines = exported.out.splitlines()
    assert (0, 3) == (exported.exit_code, len(lines))
    assert LINE in lines
    assert "The output has whole phone numbers: keep it" in exported.err
    with redis_servers.open_client(server) as client:
        client.flushall()
    again = [run_opted_out("import", stdin=exported.out) for _ in range(2)]
    assert [0, 0] == [ended.exit_code for ended in again]
    assert "0 on the list before, 3 imported" in again[0].err
    assert "2 on the list before, 1 imported" in again[1].err  # a block has no repeat
    assert lines == run_opted_out("export").out.splitlines()
    assert "since" in run_otp("blocked", "--config", config).out


def test_an_export_is_recorded_before_it_is_written(run_opted_out, run_otp, config):
    """The event has the count and the user, and no number."""
    run_opted_out("import", stdin=LINE)

    run_opted_out("export")

    found = run_otp("audit", "search", "--config", config, "--type", "number.exported", "--json")
    (event,) = map(json.loads, found.out.splitlines())
    assert (1, getpass.getuser(), "cli") == (event["count"], event["by"], event["key_id"])
    assert "number" not in event


def test_every_refused_line_is_named_and_the_others_are_done(run_opted_out):
    """No value of a line is repeated."""
    lines = [LINE, "no JSON", '{"phone_number": "07400999888"}', '{"tenant": "club"}']

    ended = run_opted_out("import", stdin="\n\n".join(lines))

    assert (1, "") == (ended.exit_code, ended.out)
    assert ["line 3:", "line 5:", "line 7:"] == re.findall(r"(?m)^line \d:", ended.err)
    assert "Lines: 4 read, 3 refused, 0 on the list before, 1 imported." in ended.err
    assert "999888" not in ended.err
    assert 2 == len(run_opted_out().out.splitlines())


def test_a_dry_run_checks_every_line_and_writes_nothing(run_opted_out, read_events):
    """Neither an entry nor an event."""
    ended = run_opted_out("import", "--dry-run", stdin=f"{LINE}\nno JSON")

    assert 1 == ended.exit_code
    assert "2 read, 1 refused, 1 can be imported, and nothing was written" in ended.err
    assert "No number is opted out.\n" == run_opted_out().out
    assert [] == read_events(ONE)


def test_wrong_arguments_and_an_empty_input_are_refused(run_opted_out):
    """Numbers are read from standard input alone."""
    assert 2 == run_opted_out(ONE).exit_code
    assert 2 == run_opted_out("--dry-run").exit_code
    assert "no line was given" in run_opted_out("import", stdin="\n").err


def test_an_entry_that_cannot_be_opened_is_reported_and_the_others_are_listed(
    run_otp, config, run_opted_out, server
):
    """It refuses sends nevertheless, so the exit code is 1 until it is lifted."""
    run_opted_out("import", stdin=f'{LINE}\n{{"phone_number": "{OTHER}"}}')
    with redis_servers.open_client(server) as client:
        (key,) = client.keys("*:opted-out:shop:*")
        client.append(key, "x")

    listed, exported = run_opted_out(), run_opted_out("export")

    assert (1, 1) == (listed.exit_code, exported.exit_code)
    assert (2, 1) == (len(listed.out.splitlines()), len(exported.out.splitlines()))
    assert "Unreadable entries, which refuse sends nevertheless: 1. Its MAC is wrong." in listed.err
    run_otp("unblock", "--config", config, stdin=ONE)
    assert 0 == run_opted_out().exit_code


def test_an_import_that_loses_redis_names_the_line_to_continue_at(run_opted_out, monkeypatch):
    """Repeating the rest is enough, and repeating all of it is harmless."""
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}")

    ended = run_opted_out("import", stdin=f"no JSON\n{LINE}")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "Stopped at line 2; repeat it and the lines after it." in ended.err
    assert "Redis does not answer as it should" in ended.err
    assert "Redis does not answer as it should" in run_opted_out("export").err


def test_a_long_import_shows_its_progress_on_a_terminal(monkeypatch, capsys):
    """A hundred lines are one step."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    for done in (99, 100, 250):
        opted_out._show_progress(done, 250)

    assert "lines: 100 of 250\rlines: 250 of 250\r\x1b[K" == capsys.readouterr().err


def test_a_search_by_number_and_the_statistics_show_an_imported_opt_out(
    run_otp, config, run_opted_out
):
    """The row names who imported it and our number; an import counts as no answer."""
    run_opted_out("import", stdin=LINE)

    found = run_otp("audit", "search", "--config", config, "--number", "-", stdin=ONE).out
    counted = run_otp("audit", "stats", "--config", config).out

    assert re.search(
        rf"number\.opted_out +shop .* p1, {getpass.getuser()}, to 447400999001\n", found
    )
    assert re.search(r"\d{4}-\d\d-\d\d +p1 +447400999001 +0 +0 +0 +1\n", counted)
