"""Answers of the risk service as events may hold them, and its settings."""

import json

import pytest

from otp_service.core.risk import RiskAnswer
from otp_service.core.secret import Secret
from otp_service.risk import RiskSettings
from otp_service.risk.risk_exchange import INVALID_REASON, parse_answer


@pytest.mark.parametrize("reason", ["sim_swap", "SIM:24h", "line-type.voip", "7", "x" * 64])
def test_a_short_code_is_kept(reason):
    body = json.dumps({"answer": "refuse", "reason": reason}).encode()

    assert (RiskAnswer.REFUSE, reason) == parse_answer(body)


@pytest.mark.parametrize("reason", [None, ""])
def test_an_answer_needs_no_reason(reason):
    body = json.dumps({"answer": "allow", "reason": reason}).encode()

    assert (RiskAnswer.ALLOW, None) == parse_answer(body)


@pytest.mark.parametrize(
    "reason",
    [
        "+447400123456",
        "swapped-447400123456",
        "44.7400.123456",
        "SIM swapped 2 h ago",
        "a\nb",
        "a\x1b[2J",
        "\u202eabc",
        "é",
        "<b>",
        "x" * 65,
        "-x",
    ],
)
def test_any_other_text_is_replaced_and_the_answer_counts(reason):
    """R68, R70: events hold no number, and nothing that acts on a terminal."""
    body = json.dumps({"answer": "refuse", "reason": reason}).encode()

    assert (RiskAnswer.REFUSE, INVALID_REASON) == parse_answer(body)


GOOD_SECRET = "whsec_d29ydGhsZXNzLXNlY3JldC1vZi1hLXJpc2stc2VydmljZQ=="


@pytest.mark.parametrize(
    ("url", "secret", "field"),
    [
        ("http://risk.example/check", GOOD_SECRET, "url"),
        ("ftp://risk.example/check", GOOD_SECRET, "url"),
        ("https://user:worthless@risk.example/", GOOD_SECRET, "url"),
        ("https://risk.example/check?key=worthless", GOOD_SECRET, "url"),
        ("https://risk.example/check#x", GOOD_SECRET, "url"),
        ("https://risk.example/ch eck", GOOD_SECRET, "url"),
        ("", GOOD_SECRET, "url"),
        ("https://risk.example/check", "worthless-secret-of-a-risk-service", "secret"),
        ("https://risk.example/check", "whsec_d29ydGhsZXNz", "secret"),
        ("https://risk.example/check", "whsec_!!!", "secret"),
    ],
)
def test_unsafe_settings_are_refused_without_showing_them(url, secret, field):
    """R63: no number crosses a network in the open, and each question is signed."""
    settings = RiskSettings(url=url, secret=Secret(secret), on_failure="allow")

    errors = [*settings.find_errors()]

    assert {field} == {name for name, _ in errors}
    assert not any("worthless" in remedy for _, remedy in errors)


@pytest.mark.parametrize("url", ["https://risk.example/check", "http://127.0.0.1:8090/check"])
def test_https_and_loopback_are_accepted(url):
    settings = RiskSettings(url=url, secret=Secret(GOOD_SECRET), on_failure="allow")

    assert [] == [*settings.find_errors()]
