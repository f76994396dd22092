"""What `audit stats` says to look at: each finding ends with the command that finds its events."""

import argparse
import json
import shlex

import pytest

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomalies import Baseline
from otp_service.audit.reports.anomaly import NO_EVENTS, Anomaly, build_anomaly
from otp_service.cli.audit.criteria_options import add_criteria_options, parse_criteria
from otp_service.cli.audit.triage import format_search, format_triage, to_json_members
from otp_service.cli.command import format_json
from otp_service.core.timestamps import HOUR_MS, format_rfc3339


SINCE, UNTIL = 1_795_305_600_000, 1_795_392_000_000
NO_BASELINE = Baseline(is_sufficient=False, sentence="No baseline yet.")
EVIL = "1:aa; rm -rf / $(id) 'x'\n--limit=1"


def build_finding(criteria: EventCriteria) -> Anomaly:
    return build_anomaly(
        "locked", "number", "1:aa", "A number is locked.", now=1, criteria=criteria
    )


@pytest.mark.parametrize(
    "criteria",
    [
        EventCriteria(type="otp.locked", event_reason="attempts_exhausted"),
        EventCriteria(type="otp.verified", client_ip_changed=True),
        EventCriteria(type="otp.issued", country="GB", provider="east", tenant="shop"),
        EventCriteria(challenge="c07-" + "5" * 32, pseudonym="1:9f", client_ip="2001:db8::/64"),
        EventCriteria(
            type="otp.issue_denied,otp.verify_denied", since=SINCE, until=SINCE + HOUR_MS
        ),
    ],
)
def test_the_command_has_the_filters_of_the_finding(criteria: EventCriteria) -> None:
    """A person copies it, and `search` reads the same filters; an hour has a period of its own."""
    parser = argparse.ArgumentParser()
    add_criteria_options(parser)

    program, group, command, *words = shlex.split(format_search(criteria, SINCE, UNTIL))

    assert ("otp-service", "audit", "search") == (program, group, command)
    bounded = {"since": SINCE, "until": UNTIL} | criteria.to_filters()
    assert bounded == parse_criteria(parser.parse_args(words), 0).to_filters()


def test_no_value_of_an_event_is_more_than_one_word_of_the_shell() -> None:
    """A tenant names accounts, and a client of Redis writes anything. Seen to fail without quotes."""
    command = format_search(EventCriteria(pseudonym=EVIL), SINCE, UNTIL)

    assert 6 == len(shlex.split(command))
    assert command.isprintable()


def test_the_command_asks_the_service_that_the_report_is_of() -> None:
    """It is pasted as it is, also after `stats --config .otp`; the folder may need quotes."""
    places = ["--config=/srv/my otp", "--archive=copy"]
    found = [build_finding(EventCriteria(type="otp.locked"))]

    lines = [*format_triage(found, NO_BASELINE, SINCE, UNTIL, places)]

    (command,) = (line for line in lines if "events: " in line)
    assert ["search", *places] == shlex.split(command)[3:6]


def test_each_finding_says_what_it_means_and_what_to_do() -> None:
    """The weight comes first; a finding without events in the log has no command."""
    found = [build_finding(EventCriteria(type="otp.locked")), build_finding(NO_EVENTS)]

    lines = "\n".join(format_triage(found, NO_BASELINE, SINCE, UNTIL))

    assert 2 == lines.count("  ALARM  A number is locked.\n    means: ")
    assert 2 == lines.count("    to do: ")
    assert 1 == lines.count("    events: otp-service audit search ")
    assert lines.endswith("\n  No baseline yet.")


def test_nothing_found_is_not_an_empty_section() -> None:
    """F1: the reader sees which rules were in force, and that there was no baseline."""
    lines = [*format_triage([], NO_BASELINE, SINCE, UNTIL)]

    assert ["  Nothing, by the rules that need no comparison.", "  No baseline yet."] == lines[1:]


def test_programs_get_the_filters_with_their_period() -> None:
    """As the body of POST /v1/audit/search takes them."""
    members = to_json_members([build_finding(EventCriteria(type="a"))], NO_BASELINE, SINCE, UNTIL)

    report = json.loads(format_json(members))

    period = {"since": format_rfc3339(SINCE), "until": format_rfc3339(UNTIL)}
    assert period | {"type": "a"} == report["anomalies"][0]["criteria"]
    assert {"is_sufficient": False, "sentence": "No baseline yet."} == report["baseline"]
