"""What commands, metrics and events say, held byte for byte against files beside this one.

README.md lists them and says how to rewrite them.
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
    COMMAND,
    IS_REWRITE,
    VARIABLE,
    check_golden,
    format_sections,
)
from tests.golden.metrics_page import (
    find_untouched_metrics,
    format_label_values,
    format_metrics_page,
)
from tests.golden.operator_events import hide_changes, record_events
from tests.store import redis_servers


@pytest.fixture
def configuration(server, tmp_path, monkeypatch) -> Path:
    """A configuration file for an empty Redis, with secrets that are the same in every run."""
    monkeypatch.delenv(VARIABLE, raising=False)  # or it would be refused as an unknown setting
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
    """Settings with secrets starred, warnings and refusals, without Redis."""
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
    printed = []
    for call in calls:
        code = main([*call, "--config", str(configuration)])
        text = hide_changes(capsys.readouterr().out)
        printed.append((" ".join(call), f"{text}exit code {code}\n"))

    check_golden("operator_commands.txt", format_sections(printed))


# ------------------------------------------------------------------------------------- metrics


def test_the_metrics_page_is_unchanged():
    """Names, types, help, labels and buckets, with one sample of each at least."""
    page = format_metrics_page()

    assert set() == find_untouched_metrics(page)
    check_golden("metrics.txt", page)


def test_the_values_that_labels_may_have_are_unchanged():
    """Alert rules and dashboards name them."""
    check_golden("metric_labels.txt", format_label_values())


# -------------------------------------------------------------------------------------- events


def test_the_event_table_is_unchanged():
    """Type, name and default of every field of every event."""
    check_golden("event_table.txt", format_event_table())


def test_every_event_is_written_as_before():
    """With every field, and with the required ones alone."""
    check_golden("event_instances.txt", format_event_instances())


# ------------------------------------------------------------------------------- the comparison


@pytest.mark.skipif(IS_REWRITE, reason="the files are being rewritten")
def test_a_difference_is_shown_with_the_way_to_accept_it():
    """A unified diff, and the command that rewrites the files."""
    with pytest.raises(pytest.fail.Exception) as failure:
        check_golden("metric_labels.txt", "another text\n")

    assert COMMAND in str(failure.value)
    assert "\n+another text" in str(failure.value)
