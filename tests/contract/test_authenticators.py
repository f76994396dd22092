"""Authenticators: create, confirm and verify, with pyotp as the app."""

import itertools
import json
import time
from typing import Any

import pyotp
import pytest

from tests.contract.support import (
    RFC_3339_UTC,
    Dev,
    assert_invalid,
    assert_problem,
    assert_rate_limited,
    at_once,
)


URL = "/v1/authenticators"
PERIOD = 30
_count = itertools.count()


class App:
    """A user's app, and the token that a login back end keeps for the account.

    Codes of three steps are valid at once, so most tests need no wait: the earliest one confirms.
    """

    def __init__(self, dev: Dev, account: str = "") -> None:
        self.dev = dev
        self.account = account or f"app-user-{next(_count)}"
        if time.time() % PERIOD > PERIOD - 8:
            time.sleep(PERIOD - time.time() % PERIOD)
        self.step = int(time.time()) // PERIOD
        self.created = self.post("", account=self.account)
        self.token = self.unconfirmed = self.created["authenticator"]
        self.totp = pyotp.parse_uri(self.created["uri"])

    def post(self, path: str, **fields: Any) -> Any:
        answer = self.dev.api.post(URL + path, json=fields)
        assert answer.is_success, answer.text
        return answer.json()

    def code(self, offset: int = 0) -> str:
        """Return the code of a step near the one in which the test began."""
        assert isinstance(self.totp, pyotp.TOTP)
        return self.totp.generate_otp(self.step + offset)

    def wrong_code(self) -> str:
        near = {self.code(offset) for offset in range(-3, 6)}
        return next(code for code in map("{:06d}".format, range(20)) if code not in near)

    def confirm(self, code: Any = None, *, headers: Any = None, **fields: Any) -> Any:
        """Confirm, by default with the earliest code that is valid."""
        body = {"authenticator": self.unconfirmed, "account": self.account} | fields
        body["code"] = self.code(-1) if code is None else code
        answer = self.dev.api.post(f"{URL}/confirm", json=body, headers=headers)
        if answer.is_success:
            self.token = answer.json()["authenticator"]
        return answer

    def verify(self, code: Any = None, *, headers: Any = None, **fields: Any) -> Any:
        """Verify, by default with the present code."""
        body = {"authenticator": self.token, "account": self.account} | fields
        body["code"] = self.code() if code is None else code
        return self.dev.api.post(f"{URL}/verify", json=body, headers=headers)


@pytest.fixture
def app(dev: Dev) -> App:
    """Return an app that is not confirmed."""
    return App(dev)


@pytest.fixture
def active(app: App) -> App:
    """Return an app whose codes verify."""
    assert 200 == app.confirm().status_code
    return app


def test_a_new_authenticator_has_the_forms_that_apps_take(app: App) -> None:
    created = app.created

    assert {"authenticator", "status", "secret", "uri", "qr_svg", "expires_at"} == created.keys()
    assert "unconfirmed" == created["status"]
    assert created["authenticator"].startswith("a1.")
    assert 32 == len(created["secret"])
    assert created["uri"].startswith("otpauth://totp/")
    assert f"secret={created['secret']}" in created["uri"]
    for parameter in ("issuer=", "algorithm=SHA1", "digits=6", "period=30"):
        assert parameter in created["uri"]
    assert created["qr_svg"].startswith("<svg ")
    assert "<script" not in created["qr_svg"]
    assert RFC_3339_UTC.fullmatch(created["expires_at"])


def test_an_app_is_confirmed_and_then_verifies(app: App) -> None:
    confirmed = app.confirm()

    assert 200 == confirmed.status_code
    assert {"authenticator", "status", "confirmed_at"} == confirmed.json().keys()
    assert "active" == confirmed.json()["status"]
    assert app.unconfirmed != app.token
    verified = app.verify(purpose="payment", client_ip="203.0.113.9")
    assert 200 == verified.status_code
    assert {"status", "verified_at", "authenticator"} == verified.json().keys()
    assert "verified" == verified.json()["status"]
    assert RFC_3339_UTC.fullmatch(verified.json()["verified_at"])
    assert app.token == verified.json()["authenticator"]


def test_each_code_is_accepted_once(active: App) -> None:
    """Neither the confirming one, nor one twice, nor an older one after a newer one."""
    assert_problem(active.verify(active.code(-1)), "code-already-used")
    assert 200 == active.verify(active.code(1)).status_code
    assert_problem(active.verify(active.code(1)), "code-already-used")
    assert_problem(active.verify(active.code(0)), "code-already-used")


def test_of_uses_at_once_one_is_verified(active: App) -> None:
    answers = at_once(*(active.verify for _ in range(5)))

    assert 1 == [answer.status_code for answer in answers].count(200)


def test_a_wrong_code_has_no_attempts_left(active: App) -> None:
    problem = assert_problem(active.verify(active.wrong_code()), "incorrect-code")

    assert "attempts_left" not in problem
    assert 200 == active.verify().status_code


def test_five_failures_of_an_account_are_the_most(active: App) -> None:
    """A new enrolment of the account is no fresh budget; another account has its own."""
    for _ in range(5):
        assert_problem(active.verify(active.wrong_code()), "incorrect-code")

    assert 60 < assert_rate_limited(active.verify()) <= 600
    again = App(active.dev, active.account)
    assert_rate_limited(again.confirm())
    assert 200 == App(active.dev).confirm().status_code


def test_a_token_has_one_state_at_a_time(active: App) -> None:
    """409 after the token and the form of the code are checked."""
    active.unconfirmed = active.token
    assert_problem(active.confirm(active.code(1)), "authenticator-already-confirmed")
    assert_problem(active.confirm("12345"), "malformed-code")

    new = App(active.dev)
    assert_problem(new.verify(), "authenticator-not-confirmed")
    assert_problem(new.verify("12345"), "malformed-code")


@pytest.mark.parametrize("code", [123456, None, True, ["123456"], "", "12345", "\uff11" * 6])
def test_any_malformed_code_is_refused_in_its_place(active: App, code: Any) -> None:
    """After the token, and without a charge."""
    body = {"authenticator": active.token, "account": active.account, "code": code}
    for path in ("confirm", "verify"):
        answer = active.dev.api.post(f"{URL}/{path}", json=body)
        assert_problem(answer, "malformed-code")
        other = active.dev.api.post(f"{URL}/{path}", json=body | {"account": "another"})
        assert_problem(other, "invalid-authenticator")


def test_a_token_that_is_not_ours_or_not_of_the_account_is_invalid(active: App) -> None:
    """Also a long one, one of another kind, and one that is cut or altered anywhere."""
    token = active.token
    altered = [
        token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        for i in range(0, len(token), 9)
    ]
    for other in (
        "",
        "a1.",
        "x",
        token[:-4],
        token + "A",
        "r1" + token[2:],
        "a1." + "A" * 9000,
        "a1.\u00e9\0",
        *altered,
    ):
        assert_problem(active.verify(authenticator=other), "invalid-authenticator")
        assert_problem(active.confirm(authenticator=other), "invalid-authenticator")

    assert_problem(active.verify(account=f"{active.account}x"), "invalid-authenticator")
    assert 200 == active.verify().status_code


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"account": ""},
        {"account": None},
        {"account": "x" * 129},
        {"account": 81},
        {"account": "u", "label": "x"},
        {"account": "u", "name": ""},
        {"account": "u", "name": "Shop: alice"},
        {"account": "u", "name": "alice\n"},
        {"account": "u", "name": "x" * 65},
        {"account": "u", "secret": "GEZDGNBVGY3TQOJQ"},
        {"account": "u", "secret": "not base32!" * 4},
        {"account": "u", "secret": ""},
        {"account": "u", "secret": 1},
    ],
)
def test_what_creates_no_authenticator_is_invalid(dev: Dev, fields: Any) -> None:
    assert_invalid(dev.api.post(URL, json=fields))


def test_optional_members_that_are_null_count_as_absent(active: App) -> None:
    fields = {"account": active.account, "name": None, "secret": None}

    assert 201 == active.dev.api.post(URL, json=fields).status_code
    assert 200 == active.verify(purpose=None, client_ip=None).status_code


def test_a_secret_of_another_system_is_imported(dev: Dev) -> None:
    """It is confirmed like any other."""
    secret = pyotp.random_base32()
    created = dev.api.post(URL, json={"account": "imported", "secret": secret.lower()}).json()

    assert secret == created["secret"]
    code = pyotp.TOTP(secret).now()
    body = {"authenticator": created["authenticator"], "account": "imported", "code": code}
    assert_problem(dev.api.post(f"{URL}/verify", json=body), "authenticator-not-confirmed")
    assert 200 == dev.api.post(f"{URL}/confirm", json=body).status_code


@pytest.mark.parametrize(
    "fields",
    [
        {"client_ip": "203.0.113.9:443"},
        {"client_ip": "fe80::1%eth0"},
        {"client_ip": ""},
        {"purpose": "LOGIN"},
        {"account": ""},
        {"authenticator": 1},
        {"authenticator": None},
        {"phone_number": "+447400123456"},
    ],
)
def test_an_invalid_member_is_refused_before_the_token(active: App, fields: Any) -> None:
    body = {"authenticator": "a1.x", "account": active.account, "code": 1} | fields

    assert_invalid(active.dev.api.post(f"{URL}/verify", json=body))


@pytest.mark.parametrize("path", ["", "/confirm", "/verify"])
def test_key_size_and_type_are_checked_first(dev: Dev, path: str) -> None:
    """401, 413, 415, 400; then 405 for another method."""
    big, typed = b'{"account": "' + b"x" * 20_000 + b'"}', {"Content-Type": "application/json"}

    keyless = dev.api.post(URL + path, content=b"x", headers={"Authorization": ""})
    assert_problem(keyless, "unauthenticated")
    assert_problem(dev.api.post(URL + path, content=big, headers=typed), "content-too-large")
    text = {"Content-Type": "text/plain"}
    assert_problem(dev.api.post(URL + path, content=b"{}", headers=text), "unsupported-media-type")
    twice = b'{"account": "u", "account": "u"}'
    assert_invalid(dev.api.post(URL + path, content=twice, headers=typed))
    assert_problem(dev.api.get(URL + path), "method-not-allowed")


def test_the_same_key_gets_the_same_answer(app: App) -> None:
    """Confirm and verify. Of calls at once, those that come while the first one runs are refused."""
    key, quoted = {"Idempotency-Key": "k-1"}, {"Idempotency-Key": '"k-1"'}
    confirmed = app.confirm(headers=key)
    assert confirmed.json() == app.confirm(headers=quoted).json()
    assert 200 == confirmed.status_code

    answers = at_once(*(lambda: app.verify(headers=key) for _ in range(4)))

    accepted = [answer for answer in answers if answer.status_code == 200]
    for answer in set(answers) - set(accepted):
        assert_problem(answer, "idempotency-key-in-use")
    assert 1 == len({answer.text for answer in accepted})
    assert accepted[0].json() == app.verify(headers=quoted).json()
    assert_problem(app.verify(app.code(1), headers=key), "idempotency-key-reused")
    assert_problem(app.verify(headers={"Idempotency-Key": "k-2"}), "code-already-used")
    assert_invalid(app.verify(headers={"Idempotency-Key": ""}))


def test_events_name_the_authenticator_and_no_secret(active: App) -> None:
    assert 200 == active.verify().status_code
    events = [e for e in active.dev.events() if e["type"].startswith("authenticator.")]

    text = json.dumps(events)
    for secret in (active.token, active.unconfirmed, active.created["secret"], active.account):
        assert secret not in text
    (verified, *_) = [e for e in events if e["type"] == "authenticator.verified"]
    same = [e["type"] for e in events if e.get("authenticator") == verified["authenticator"]]
    expected = ["verified", "attempted", "confirmed", "attempted", "enrolled"]
    assert sorted(f"authenticator.{name}" for name in expected) == sorted(same)
