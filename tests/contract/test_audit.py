"""The audit endpoints: pages, filters and searches."""

import datetime as dt
import json
from typing import Any

import pytest

from tests.contract.support import (
    PLAIN,
    Challenge,
    Dev,
    assert_invalid,
)


def test_every_step_leaves_an_event(challenge: Challenge) -> None:
    """Issue, refusal, wrong code, success, and the second try."""
    challenge.resend()
    challenge.verify(challenge.wrong)
    challenge.verify()
    challenge.verify()

    events = challenge.dev.events(challenge=challenge.id)

    assert 5 <= len(events)
    assert all(event["challenge"] == challenge.id for event in events)
    assert 4 <= len({event["type"] for event in events})
    assert all(isinstance(event["type"], str) for event in events)


def test_a_page_of_events_goes_on_with_its_cursor(dev: Dev) -> None:
    """Each event is seen once, and the last page says so."""
    challenge = dev.challenge()
    challenge.fail(5)
    whole = dev.events(challenge=challenge.id)

    pages = dev.events(challenge=challenge.id, limit=1)

    assert 6 <= len(whole)
    assert whole == pages


@pytest.fixture(scope="module")
def _eventful(dev: Dev) -> None:
    """Have more events than a page."""
    for _ in range(20):
        dev.challenge().fail(2)


@pytest.mark.usefixtures("_eventful")
def test_pages_of_all_events_neither_lose_nor_repeat(dev: Dev) -> None:
    """Across all partitions."""
    until = dt.datetime.now(dt.UTC).isoformat()

    small = dev.events(until=until, limit=97)
    large = dev.events(until=until, limit=1000)

    def key(event: dict[str, Any]) -> str:
        return json.dumps(event, sort_keys=True)

    assert sorted(map(key, small)) == sorted(map(key, large))
    assert len(set(map(key, small))) == len(small) > 100


@pytest.mark.usefixtures("_eventful")
def test_a_page_has_a_hundred_events_unless_told(dev: Dev) -> None:
    """Its members are exactly those of the contract."""
    page = dev.api.get("/v1/audit/events").json()

    assert {"events", "next"} == set(page)
    assert 100 == len(page["events"])
    assert isinstance(page["next"], str)


def test_events_are_filtered_by_type(dev: Dev) -> None:
    """One type at a time."""
    dev.challenge().fail(1)
    types = {event["type"] for event in dev.events(limit=1000)}
    assert 3 <= len(types)

    for name in types:
        page = dev.api.get("/v1/audit/events", params={"type": name}).json()
        assert {name} == {event["type"] for event in page["events"]}


def test_events_are_filtered_by_time(dev: Dev) -> None:
    """`since` and `until`, in any zone."""
    challenge = dev.challenge()
    now = dt.datetime.now(dt.UTC)
    soon = (now + dt.timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
    kolkata = dt.timezone(dt.timedelta(hours=5, minutes=30))
    before = (now - dt.timedelta(minutes=10)).astimezone(kolkata).isoformat()

    assert [] == dev.events(since=soon)
    assert [] == dev.events(until=before)
    assert dev.events(challenge=challenge.id) == dev.events(
        challenge=challenge.id, since=before, until=soon
    )


@pytest.mark.parametrize(
    "filters",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": "1.0"},
        {"limit": ""},
        {"since": "yesterday"},
        {"since": "2026-01-01"},
        {"since": "2026-01-01T00:00:00"},
        {"until": "1767225600"},
        {"cursor": "garbage"},
        {"cursor": "\u00fc"},
        {"phone_number": PLAIN},
        {"unknown": "1"},
        {"limit": ["1", "2"]},
    ],
)
def test_filters_are_checked(dev: Dev, filters: dict[str, Any]) -> None:
    """Malformed, unknown and repeated ones, and a number in a URL, are 400."""
    assert_invalid(dev.api.get("/v1/audit/events", params=filters))


def test_events_of_a_number_are_searched_in_a_body(dev: Dev) -> None:
    """No number appears in a URL; the other filters are the same."""
    one, other = dev.challenge(), dev.challenge()
    one.fail(1)

    found = dev.api.post("/v1/audit/search", json={"phone_number": one.number})

    assert 200 == found.status_code
    assert {"events", "next"} == set(found.json())
    ids = {event["challenge"] for event in found.json()["events"]}
    assert one.id in ids
    assert other.id not in ids
    narrowed = {"phone_number": one.number, "challenge": other.id, "limit": 10}
    assert [] == dev.api.post("/v1/audit/search", json=narrowed).json()["events"]
    assert one.number not in found.text


def test_events_of_an_account_are_searched_in_a_body(dev: Dev) -> None:
    """Alone or with a number: then events must match both."""
    one, other = dev.challenge(account="u-one"), dev.challenge(account="u-other")

    found = dev.api.post("/v1/audit/search", json={"account": "u-one"})

    assert 200 == found.status_code
    assert {one.id} == {event.get("challenge") for event in found.json()["events"]}
    both = {"account": "u-one", "phone_number": one.number}
    assert dev.api.post("/v1/audit/search", json=both).json()["events"]
    crossed = {"account": "u-one", "phone_number": other.number}
    assert [] == dev.api.post("/v1/audit/search", json=crossed).json()["events"]
    lookups = dev.events(type="audit.lookup")
    assert any("account" in event for event in lookups)
    assert "u-one" not in found.text + json.dumps(lookups)
    assert_invalid(dev.api.get("/v1/audit/events", params={"account": "u-one"}))


def test_a_search_without_a_number_is_like_the_other_way(dev: Dev) -> None:
    """It has the same filters and the same answer."""
    challenge = dev.challenge()

    found = dev.api.post("/v1/audit/search", json={"challenge": challenge.id})

    assert dev.events(challenge=challenge.id) == found.json()["events"]


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "1"},
        {"since": "now"},
        {"cursor": "x"},
        {"account": ""},
        {"a": 1},
    ],
)
def test_a_search_is_checked(dev: Dev, body: dict[str, Any]) -> None:
    """The checks are those of the filters in a URL."""
    assert_invalid(dev.api.post("/v1/audit/search", json=body))
