"""Joining the parts of long messages: in any order, and in bounded memory."""

import itertools
import tracemalloc

import pytest

from otp_service.core.inbound import InboundMessage
from otp_service.sms.smpp.inbound_messages import MessagePart
from otp_service.sms.smpp.message_parts import (
    MAX_PART_AGE_SECONDS,
    MAX_STORED_CHARS,
    MAX_STORED_PARTS,
    PartJoiner,
)
from otp_service.sms.smpp.user_data import Segment


def part(text, number, total=2, reference=7, **more):
    """A part of a message from one phone."""
    names = {"sender": "447400123456", "receiver": "12025550123", "scheme": "8-bit"} | more
    message = InboundMessage(names["sender"], text, names["receiver"], is_signed=True)
    return MessagePart(message, Segment(names["scheme"], reference, total, number))


def join(parts, joiner=None):
    """Return what was joined, in the order in which it was complete."""
    joiner, complete = joiner or PartJoiner(), []
    for each in parts:
        if (text := joiner.add_part(each, 0.0).text) is not None:
            complete.append(text)
            joiner.discard_message(each)
    return complete


@pytest.mark.parametrize("order", [*itertools.permutations((1, 2, 3))])
def test_parts_are_joined_in_any_order(order):
    """An SMSC promises no order."""
    texts = {1: "UN", 2: "SUB", 3: "SCRIBE"}

    assert ["UNSUBSCRIBE"] == join(part(texts[number], number, 3) for number in order)


def test_a_message_of_its_own_is_passed_through():
    """Almost all are."""
    whole = MessagePart(InboundMessage("447400123456", "STOP"), None)

    assert ("STOP", 0) == PartJoiner().add_part(whole, 0.0)


def test_a_message_of_one_part_is_complete():
    """1 of 1."""
    assert ["STOP"] == join([part("STOP", 1, total=1)])


@pytest.mark.parametrize(
    "other",
    [
        {"sender": "447400123457"},
        {"receiver": "12025550124"},
        {"scheme": "16-bit"},
        {"scheme": "sar"},
        {"reference": 8},
        {"total": 3},
    ],
)
def test_parts_of_different_messages_are_not_joined(other):
    """A person cannot complete the message of another one."""
    joiner = PartJoiner()

    assert [] == join([part("ST", 1), part("OP", 2, **other)], joiner)
    assert ["STOP"] == join([part("OP", 2)], joiner)


def test_a_repeated_part_replaces_the_first():
    """An SMSC repeats what was not answered."""
    assert ["STOP"] == join([part("ST", 1), part("ST", 1), part("OP", 2)])
    assert ["STOP"] == join([part("XX", 1), part("ST", 1), part("OP", 2)])


def test_the_last_part_can_be_repeated_until_the_message_is_handled():
    """Redis was away: the SMSC repeats the last part alone."""
    joiner = PartJoiner()
    first, last = part("ST", 1), part("OP", 2)
    joiner.add_part(first, 0.0)

    assert "STOP" == joiner.add_part(last, 1.0).text
    assert "STOP" == joiner.add_part(last, 2.0).text
    joiner.discard_message(last)
    assert joiner.add_part(last, 3.0).text is None


def test_a_late_part_is_not_joined():
    """The time of a message begins with its first part, and is not extended."""
    joiner = PartJoiner()
    joiner.add_part(part("S", 1, 3), 0.0)
    joiner.add_part(part("TO", 2, 3), MAX_PART_AGE_SECONDS - 1)

    late = joiner.add_part(part("P", 3, 3), MAX_PART_AGE_SECONDS)

    assert (None, 1) == late
    assert 2 * MAX_PART_AGE_SECONDS == joiner.next_deadline
    assert (1, None) == (joiner.drop_expired(2 * MAX_PART_AGE_SECONDS), joiner.next_deadline)


def test_a_part_just_in_time_is_joined():
    """The neighbour."""
    joiner = PartJoiner()
    joiner.add_part(part("ST", 1), 0.0)

    assert ("STOP", 0) == joiner.add_part(part("OP", 2), MAX_PART_AGE_SECONDS - 0.001)


def measure_memory(parts):
    """Return the bytes that a joiner holds after these parts, and the messages that it dropped."""
    tracemalloc.start()
    joiner = PartJoiner()
    dropped = sum(joiner.add_part(each, 0.0).dropped_count for each in parts)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held, dropped


def test_many_references_use_bounded_memory():
    """255 parts each of 5,000 messages, sent one part of each at a time."""
    sent = (
        part("x", number, 255, reference, scheme="16-bit")
        for number in (1, 2)
        for reference in range(5_000)
    )

    held, dropped = measure_memory(sent)

    assert 2 * 5_000 - MAX_STORED_PARTS == dropped
    assert held < 2_000_000


def test_many_parts_of_few_messages_use_bounded_memory():
    """One part less than each message needs."""
    sent = (
        part("", number, 255, reference) for reference in range(100) for number in range(1, 255)
    )

    held, dropped = measure_memory(sent)

    assert 100 - MAX_STORED_PARTS // 254 - 1 <= dropped < 100
    assert held < 2_000_000


@pytest.mark.parametrize("place", ["text", "sender", "receiver"])
def test_large_parts_use_bounded_memory(place):
    """A payload has up to 64 K, and a hostile SMSC could write an address of that length."""

    def build_large(reference):
        names = {"sender": "44", "receiver": "12", "text": "x"}
        names[place] = f"{reference:05}" + "x" * 60_000
        return part(names.pop("text"), 1, 2, reference, **names)

    held, dropped = measure_memory(build_large(reference) for reference in range(500))

    assert 499 == dropped
    assert held < 10 * MAX_STORED_CHARS


def test_the_oldest_message_is_dropped_first():
    """A flood cannot fill the space for good."""
    joiner = PartJoiner(max_parts=3)
    for reference in range(4):
        joiner.add_part(part("ST", 1, reference=reference), float(reference))

    assert joiner.add_part(part("OP", 2, reference=0), 4.0).text is None
    assert "STOP" == joiner.add_part(part("OP", 2, reference=3), 5.0).text


def test_space_is_free_again_after_a_message():
    """Nothing is counted for ever: a hundred messages in the space of one."""
    joiner = PartJoiner(max_parts=2, max_chars=60)
    for reference in range(100):
        sent = [part(text, 1 + (text == "OP"), reference=reference) for text in ("ST", "XX", "OP")]
        assert [(None, 0), (None, 0), ("XXOP", 0)] == [joiner.add_part(each, 0.0) for each in sent]
        joiner.discard_message(sent[0])

    assert joiner.next_deadline is None
