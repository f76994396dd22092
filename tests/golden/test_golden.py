"""The output of commands, metrics and events, compared byte for byte with the files of this folder.

README.md lists them and describes how to rewrite them.
"""

import asyncio
from pathlib import Path

import pytest

from otp_service.cli import main
from tests.golden.commands import (
    collect_help,
    describe_configurations,
    hide_machine,
    write_configuration,
)
from tests.golden.event_table import format_event_instances, format_event_table
from tests.golden.golden_file import (
    IS_REWRITE,
    REWRITE_COMMAND,
    REWRITE_VARIABLE,
    check_golden,
    format_sections,
)
from tests.golden.metrics_page import (
    find_missing_metrics,
    format_label_values,
    format_metrics_page,
)
from tests.golden.operator_events import hide_changes, record_events
from tests.store import redis_servers


@pytest.fixture
def configuration(server, tmp_path, monkeypatch) -> Path:
    """Return a configuration file for an empty Redis, with secrets that are the same in every run."""
    # otherwise `check` would refuse it as an unknown setting
    monkeypatch.delenv(REWRITE_VARIABLE, raising=False)
    with redis_servers.open_client(server) as client:
        client.flushall()
    path = tmp_path / "otp.toml"
    write_configuration(path, server.url)
    return path


# ------------------------------------------------------------------------------------ commands


def test_the_help_of_every_command_is_unchanged(monkeypatch):
    """All of its words; the columns are argparse's, and differ between versions of Python."""
    check_golden("help.txt", format_sections(collect_help(monkeypatch)))


def test_check_describes_each_configuration_as_before():
    """Settings with masked secrets, warnings and refusals, without Redis."""
    check_golden("check_settings.txt", format_sections(describe_configurations()))


def test_check_prints_the_same_for_a_live_redis(configuration, server, capsys):
    """The whole command; paths, cores and speed are hidden."""
    code = main(["check", "--config", str(configuration)])

    printed = hide_machine("".join(capsys.readouterr()), server.url, str(configuration))
    check_golden("check_live.txt", f"{printed}exit code {code}\n")


def test_operators_commands_print_the_same_events(configuration, capsys):
    """Tables and JSON of `audit search`, `show` and `stats`, and of `providers`."""
    challenge_id = asyncio.run(record_events(configuration))
    calls = [
        ("audit", "search"),
        ("audit", "search", "--json"),
        ("audit", "show", challenge_id),
        ("audit", "stats", "--by", "provider"),
        ("audit", "stats", "--json"),
        ("providers",),
        ("providers", "--json"),
    ]
    outputs = []
    for call in calls:
        code = main([*call, "--config", str(configuration)])
        text = hide_changes(capsys.readouterr().out)
        outputs.append((" ".join(call), f"{text}exit code {code}\n"))

    check_golden("operator_commands.txt", format_sections(outputs))


# ------------------------------------------------------------------------------------- metrics


def test_the_metrics_page_is_unchanged():
    """Names, types, help, labels and buckets, with at least one sample of each."""
    page = format_metrics_page()

    assert set() == find_missing_metrics(page)
    check_golden("metrics.txt", page)


def test_the_possible_label_values_are_unchanged():
    """Alert rules and dashboards use them."""
    check_golden("metric_labels.txt", format_label_values())


# -------------------------------------------------------------------------------------- events


def test_the_event_table_is_unchanged():
    """Type, name and default of every field of every event."""
    check_golden("event_table.txt", format_event_table())


def test_every_event_is_written_as_before():
    """With every field, and with the required ones alone."""
    check_golden("event_instances.txt", format_event_instances())


# ----------------------------------------------------------------------------------- the comparison


@pytest.mark.skipif(IS_REWRITE, reason="the files are being rewritten")
def test_a_difference_is_shown_with_the_command_that_accepts_it():
    """A unified diff, and the command that rewrites the files."""
    with pytest.raises(pytest.fail.Exception) as failure:
        check_golden("metric_labels.txt", "another text\n")

    assert REWRITE_COMMAND in str(failure.value)
    assert "\n+another text" in str(failure.value)
