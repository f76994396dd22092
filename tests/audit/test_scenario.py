"""R66: a scripted run appends exactly the expected events, in order: no event more, none less.

`scenario.txt` holds the expected events. After a deliberate change, write it again and look at
the difference: OTP_WRITE=1 pytest tests/audit/test_scenario.py
"""

import os
from itertools import pairwise
from pathlib import Path

from otp_service.audit.exports.taxonomy import TAXONOMY_ENTRIES
from otp_service.core.events import EVENT_TYPES
from otp_service.core.log_entry import Stamp
from tests.audit.event_table import format_rows, list_all_fields
from tests.audit.scenario import ScenarioStep, decode_event, format_steps


EXPECTED = Path(__file__).with_name("scenario.txt")
INVENTORY = Path(__file__).parents[2] / "otp_service/audit/EVENTS.md"

NOT_HERE = {
    *("unrecorded", "missing", "seal", "risk_answer", "risk_reason"),
    *("over_limit", "unverified", "allowance", "mode"),
}
"""Half a log of refusals (tests/store/test_event_log.py), a gap and a retention (test_retention.py), the
answers of a risk service (tests/service/test_risk_check.py), and refusals of the brake."""

NO_EVENTS_HERE = {"brake.moved"}
"""The job that learns appends it."""


def test_every_step_tells_what_it_should_and_nothing_else(
    scenario_steps: list[ScenarioStep],
) -> None:
    """Fifty steps, among them an answer that is lost after the decision was made."""
    text = format_steps(scenario_steps)
    if os.environ.get("OTP_WRITE"):
        EXPECTED.write_text(text, encoding="utf-8")

    assert len(scenario_steps) >= 30
    assert EXPECTED.read_text(encoding="utf-8") == text


def test_every_kind_of_event_and_every_field_is_met(scenario_steps: list[ScenarioStep]) -> None:
    """Or what is held against this run would prove little."""
    events = [decode_event(entry) for step in scenario_steps for entry in step.entries]

    assert set(EVENT_TYPES) - NO_EVENTS_HERE == {event["type"] for event in events}
    assert list_all_fields() - NOT_HERE == {name for event in events for name in event}


def test_every_event_has_its_place_its_name_and_what_was_in_force(
    scenario_steps: list[ScenarioStep],
) -> None:
    """R66, R67: and inside an epoch of a partition no sequence is missing."""
    entries = [entry for step in scenario_steps for entry in step.entries]
    places = sorted((one.partition, one.epoch, one.position.sequence) for one in entries)

    for event in map(decode_event, entries):
        assert event["id"], event
        assert {"config", "pepper", "pseudonym"} < event["versions"].keys(), event
    for (partition, epoch, sequence), (*after, following) in pairwise(places):
        expected = sequence + 1 if [partition, epoch] == after else 1
        assert expected == following, (partition, epoch)


def test_the_inventory_lists_every_event_as_it_is() -> None:
    """ASVS 16.1.1: `python -m tests.audit.event_table` prints the rows that it has to have."""
    assert set(EVENT_TYPES) <= {kind for kind, _ in TAXONOMY_ENTRIES}

    listed = [line for line in _table("## Events") if line.startswith("| `")]

    assert list(format_rows()) == listed


def test_the_inventory_lists_every_field_and_no_other() -> None:
    """ASVS 16.1.1, 14.1.2: each has its class of data, whose retention is on the page."""
    fields = [line.split(" | ") for line in _table("## Fields") if line.startswith("| `")]
    named = [name.strip("| `") for name, *_ in fields]
    kept = {line.split(" | ")[0].strip("| ") for line in _table("## How long it is kept")[2:]}

    assert sorted(list_all_fields()) == sorted(named)
    assert kept == {data.strip(" |") for *_, data in fields}
    assert set(Stamp.__struct_fields__) < set(named)


def _table(heading: str) -> list[str]:
    """Return the lines of the table under a heading."""
    _, _, section = INVENTORY.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    lines = section.partition("\n## ")[0].splitlines()
    return [line for line in lines if line.startswith("|")]
