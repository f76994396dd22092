"""The view of a challenge: its members, and which ids are not found."""

import datetime as dt
import json
import re

import pytest

from tests.contract.support import (
    CODE,
    COOLDOWN,
    RFC_3339_UTC,
    Challenge,
    Dev,
    assert_invalid,
    assert_problem,
    fresh_number,
)


def test_a_view_says_everything_in_its_type(dev: Dev) -> None:
    """It has exactly the members of ChallengeView."""
    number = fresh_number()

    view = dev.issue(number, purpose="payment.high_1", account="u-81").json()

    names = "id status phone_number purpose account created_at expires_at attempts_left sends_left"
    assert set(view) - {"verified_at"} == {*names.split(), "resend_at", "delivery"}
    assert view.get("verified_at") is None
    assert ("pending", "payment.high_1", "u-81") == (
        view["status"],
        view["purpose"],
        view["account"],
    )
    assert (5, 2) == (view["attempts_left"], view["sends_left"])
    assert re.fullmatch(rf"\+44[^0-9]+{number[-2:]}", view["phone_number"])


def test_instants_are_rfc_3339_in_utc(challenge: Challenge) -> None:
    """A lifetime of 300 s, a cooldown of 30 s, and a clock that is about right."""
    view = challenge.issued

    instants = {}
    for name in ("created_at", "expires_at", "resend_at"):
        assert RFC_3339_UTC.fullmatch(view[name])
        instants[name] = dt.datetime.fromisoformat(view[name])
    lifetime = instants["expires_at"] - instants["created_at"]
    cooldown = instants["resend_at"] - instants["created_at"]
    assert lifetime.total_seconds() == pytest.approx(300, abs=1)
    assert cooldown.total_seconds() == pytest.approx(COOLDOWN, abs=2)
    now = dt.datetime.now(dt.UTC)
    assert abs((now - instants["created_at"]).total_seconds()) < 30


def test_a_view_tells_what_became_of_the_message(challenge: Challenge) -> None:
    """One submission, accepted by the inbox, without a fault."""
    delivery = challenge.issued["delivery"]

    (submission,) = delivery["submissions"]
    assert {"status", "provider", "submissions"} == set(delivery)
    assert delivery["status"] in {"submitted", "delivered"}
    assert delivery["provider"] == submission["provider"]
    assert {"provider", "outcome", "fault", "reason", "at"} == set(submission)
    assert ("accepted", None) == (submission["outcome"], submission["fault"])
    assert RFC_3339_UTC.fullmatch(submission["at"])


def test_no_answer_holds_the_code_or_the_number(challenge: Challenge) -> None:
    """The view, problems and events contain neither."""
    code = challenge.code
    told = [
        json.dumps(challenge.issued),
        challenge.verify(challenge.wrong).text,
        challenge.resend().text,
        challenge.verify(code).text,
        json.dumps(challenge.view()),
        json.dumps(challenge.dev.events(challenge=challenge.id)),
    ]

    for text in told:
        assert challenge.number not in text
        assert challenge.number[1:] not in text
        assert code not in CODE.findall(re.sub(r"\.\d+Z", "Z", text))


@pytest.mark.parametrize(
    "unknown",
    ["unknown", "0", "a" * 22, "a" * 1000, "..", "%2e%2e%2f", "{00}", "*", "%00", "%ff", "%0a"],
)
def test_unknown_challenges_are_not_found(dev: Dev, unknown: str) -> None:
    """Unknown text in the place of an id is 404 on every call."""
    for call in (
        dev.api.build_request("GET", f"/v1/challenges/{unknown}"),
        dev.api.build_request("DELETE", f"/v1/challenges/{unknown}"),
        dev.api.build_request("POST", f"/v1/challenges/{unknown}/resend"),
        dev.api.build_request("POST", f"/v1/challenges/{unknown}/verify", json={"code": "123456"}),
    ):
        assert_problem(dev.api.send(call), "challenge-not-found", "not-found")


def test_a_neighbour_of_an_id_is_not_found(challenge: Challenge) -> None:
    """Every character of an id matters, and so does its case."""
    other = challenge.id[:-1] + ("a" if challenge.id[-1] != "a" else "b")

    for unknown in (other, challenge.id.swapcase(), challenge.id + "a", challenge.id[:-1]):
        answer = challenge.dev.api.get(f"/v1/challenges/{unknown}")
        assert_problem(answer, "challenge-not-found")


def test_an_unknown_challenge_comes_before_a_malformed_code(dev: Dev) -> None:
    """404 is checked before 400 `malformed-code`, and after 400 `invalid-request`."""
    url = f"/v1/challenges/{'a' * 30}/verify"

    assert_problem(dev.api.post(url, json={"code": "abc"}), "challenge-not-found")
    assert_invalid(dev.api.post(url, json={"kode": "abc"}))
