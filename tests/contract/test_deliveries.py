"""Deliveries: codes of other products, through the whole service."""

import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract.support import (
    KIB,
    RFC_3339_UTC,
    Challenge,
    Dev,
    assert_invalid,
    assert_problem,
    assert_rate_limited,
    at_once,
    fresh_number,
)
from tests.contract.test_documented_answers import assert_documented


def deliver(
    dev: Dev, number: str | None = None, code: Any = "471093", *, key: str = "", **fields: Any
) -> httpx.Response:
    """Send a code of another product, by default to an unused number."""
    body = {"phone_number": number or fresh_number(), "code": code, **fields}
    headers = {"Idempotency-Key": key} if key else {}
    return dev.api.post("/v1/deliveries", json=body, headers=headers)


def test_a_delivery_is_created_with_its_place(dev: Dev) -> None:
    """201 with JSON; `Location` is the URL of the delivery; it has what the contract lists, and no code."""
    sent = deliver(dev, account="u-81")

    assert 201 == sent.status_code
    view = sent.json()
    assert {"id", "phone_number", "purpose", "account", "created_at", "delivery"} == view.keys()
    assert re.fullmatch(r"d([0-5]\d|6[0-3])-[0-9a-f]{32}", view["id"])
    assert f"/v1/deliveries/{view['id']}" == urlsplit(sent.headers["location"]).path
    assert ("login", "u-81") == (view["purpose"], view["account"])
    assert re.fullmatch(r"\+44\*+\d\d", view["phone_number"])
    assert RFC_3339_UTC.fullmatch(view["created_at"])
    assert "submitted" == view["delivery"]["status"]
    assert "471093" not in sent.text
    assert view == dev.api.get(sent.headers["location"]).json()
    assert 200 == dev.api.head(sent.headers["location"]).status_code


@pytest.mark.parametrize(("fields", "minutes"), [({}, 5), ({"valid_minutes": 60}, 60)])
def test_the_message_has_the_code_and_the_minutes(
    dev: Dev, fields: dict[str, Any], minutes: int
) -> None:
    """In one segment, with a warning: our text, not the caller's."""
    number = fresh_number()
    deliver(dev, number, "0047", **fields)

    (message,) = dev.inbox(number)
    assert "0047" in message["text"]
    assert f"{minutes} min" in message["text"]
    assert re.search(r"share", message["text"], re.IGNORECASE)
    assert len(message["text"]) <= 160


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "471"},
        {"code": "471093485"},
        {"code": "4710a"},
        {"code": " 4710"},
        {"code": 4710},
        {"code": None},
        {"code": "https://a.example"},
        {"valid_minutes": 0},
        {"valid_minutes": 61},
        {"valid_minutes": "5"},
        {"text": "Hello"},
        {"purpose": "Login"},
        {"locale": "en_GB"},
        {"client_ip": "203.0.113.9:80"},
        {"account": ""},
    ],
)
def test_what_breaks_the_contract_is_400_and_costs_nothing(dev: Dev, fields: Any) -> None:
    """A malformed code too: it is no attempt. Then the same number may be sent a code at once."""
    number = fresh_number()
    assert_invalid(deliver(dev, number, **fields))

    assert 201 == deliver(dev, number).status_code


def test_the_order_of_checks(dev: Dev) -> None:
    """413, 415, 400, then 422 for the number, then the limits."""
    number = fresh_number()
    deliver(dev, number)

    too_large = dev.api.post("/v1/deliveries", content=b"x" * 17 * KIB)
    assert_problem(too_large, "content-too-large")
    assert_problem(dev.api.post("/v1/deliveries", content=b"x"), "unsupported-media-type")
    assert_problem(deliver(dev, "0044", "471"), "invalid-request")
    assert_problem(deliver(dev, "+4474"), "invalid-phone-number")
    assert_problem(deliver(dev, "+442079461234"), "number-not-allowed")
    assert_rate_limited(deliver(dev, number))
    assert_problem(deliver(dev, number, "471"), "invalid-request")
    assert 1 == len(dev.inbox(number))


def test_a_challenge_and_a_delivery_share_the_cooldown(dev: Dev, challenge: Challenge) -> None:
    """A send is a send."""
    refused = deliver(dev, challenge.number)

    assert_rate_limited(refused)
    assert "CooldownPerNumber" == refused.json()["limit"]
    assert_documented("getDelivery", deliver_and_get(dev))


def deliver_and_get(dev: Dev) -> httpx.Response:
    return dev.api.get(deliver(dev).headers["location"])


def test_each_id_exists_for_its_own_calls_alone(dev: Dev, challenge: Challenge) -> None:
    """404 for every other call, also for ids that never existed."""
    id_ = deliver(dev).json()["id"]
    calls = (
        dev.api.get(f"/v1/challenges/{id_}"),
        dev.api.delete(f"/v1/challenges/{id_}"),
        dev.api.post(f"/v1/challenges/{id_}/verify", json={"code": "471093"}),
        dev.api.post(f"/v1/challenges/{id_}/resend"),
        dev.api.get(f"/v1/challenges/c{id_[1:]}"),
    )

    for call in calls:
        assert_problem(call, "challenge-not-found")
    for other in (challenge.id, f"d{challenge.id[1:]}", "d63-" + 32 * "0", "nothing"):
        missing = dev.api.get(f"/v1/deliveries/{other}")
        assert_problem(missing, "not-found")
        assert_documented("getDelivery", missing)
    assert 200 == challenge.verify().status_code


def test_twenty_calls_with_one_key_send_one_message(dev: Dev) -> None:
    """Over real connections; each is the same delivery, or is asked to repeat."""
    number = fresh_number()

    answers = at_once(*(lambda: deliver(dev, number, key="one") for _ in range(20)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert 1 == len({answer.json()["id"] for answer in answers if answer.is_success})
    assert 1 == len(dev.inbox(number))
    assert_problem(deliver(dev, number, "471094", key="one"), "idempotency-key-reused")


def test_the_log_has_its_events_apart(dev: Dev) -> None:
    """The filter `challenge` takes its id; no event is one of challenges."""
    sent = deliver(dev).json()

    types = [event["type"] for event in dev.events(challenge=sent["id"])]
    assert ["delivery.sent", "delivery.created"] == types
    assert_documented("createDelivery", deliver(dev))
    assert_documented("createDelivery", deliver(dev, code="471"), "invalid-request")
