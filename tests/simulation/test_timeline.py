"""A history as text: each thing at its instant and in the column of its worker."""

import pytest

from tests.golden.golden_file import check_golden
from tests.simulation.history import Canceled, Crashed, Failed, FaultKind, Refused, Unavailable
from tests.simulation.history_builder import CODE, NUMBER, WRONG_CODE, HistoryBuilder
from tests.simulation.timeline import MAX_VALUE_CHARS, describe_outcome, format_timeline


@pytest.fixture
def history():
    """A store that fails over, and a challenge that two workers accept."""
    history = HistoryBuilder(is_replicated=True)
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE, worker="b2", actor="guesser")
    start = history.now
    history.add_fault(FaultKind.LINK_FROZEN, target="a redis:6379", ms=150)
    history.verify(challenge, worker="a1", at=start)
    history.add_fault(FaultKind.STORE_FAILOVER, target="redis-2", lost_writes=3)
    history.verify(challenge, worker="b2", idempotency_key="a-key-of-the-second-form")
    history.refuse(
        *("issue", "rate-limited"),
        limit="CooldownPerNumber",
        retry_after=30,
        phone_number=NUMBER,
        account="u-1",
    )
    history.call("get", None, challenge=challenge, worker="a1")
    return history


def test_a_timeline_for_people(history):
    text = format_timeline(history.build(), history.audit())

    check_golden("simulation_timeline.txt", text)


def test_a_violation_is_at_its_instant(history):
    lines = format_timeline(history.build(), history.audit()).splitlines()

    (found,) = (number for number, line in enumerate(lines) if "accepted twice" in line)
    assert lines[found - 1].strip().split()[1] == "3<"
    assert lines[found].split("!!")[0] == f"{lines[found - 1][:9]}  "


def test_what_happened_in_one_instant_stays_in_the_order_of_its_causes():
    history = HistoryBuilder()
    history.issue(at=history.now, ms=50)

    history.edit_event(1, at=history.calls[0].ended_at)

    lines = format_timeline(history.build()).splitlines()

    words = [line.split()[1:3] for line in lines if line.startswith("    0.050")]
    assert [["0", "sends"], ["0", "*"], ["0<", "answered"]] == words


def test_values_are_shortened():
    history = HistoryBuilder()
    history.call("get", Canceled(), challenge="c" * 40)

    text = format_timeline(history.build())

    assert f"challenge={'c' * (MAX_VALUE_CHARS - 1)}… by" in text


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Crashed(), "crashed"),
        (Canceled(), "canceled"),
        (None, "never ended"),
        (Unavailable("overloaded", 1), "503 overloaded"),
        (Failed("KeyError in get"), "500 KeyError in get"),
        (
            Refused("rate-limited", 30, "SendsOverall", {"id": "c1"}),
            "refused rate-limited by SendsOverall for 30 s id=c1",
        ),
    ],
)
def test_an_outcome_is_a_few_words(outcome, text):
    assert text == describe_outcome(outcome)


def test_a_message_says_whether_it_was_really_taken():
    history = HistoryBuilder()
    challenge = history.issue(answer="unknown")
    history.send(history.calls[0], challenge, CODE, ordinal=2)

    lines = format_timeline(history.build()).splitlines()

    assert [": unknown, and took it", ": accepted"] == [
        line[line.rindex(":") :] for line in lines if " sends " in line
    ]
