"""POST /v1/recovery-codes and /verify, as a login back end calls them."""

import re
import uuid
from typing import Any

import pytest

from tests.contract.support import (
    RFC_3339_UTC,
    Dev,
    assert_invalid,
    assert_problem,
    assert_rate_limited,
    at_once,
)


WRONG = "0000-0000-0000-0000"


class RecoverySet:
    """A set of a new account, with the token that its caller has stored."""

    def __init__(self, dev: Dev) -> None:
        self.dev = dev
        self.account = f"u-{uuid.uuid4()}"
        created = dev.api.post("/v1/recovery-codes", json={"account": self.account})
        assert 201 == created.status_code, created.text
        self.token: str = created.json()["recovery_set"]
        self.codes: list[str] = created.json()["codes"]
        self.members = created.json().keys()

    def verify(self, code: Any, *, headers: Any = None, **fields: Any) -> Any:
        """Verify a code with the stored token, unless the test gives another one."""
        body = {"recovery_set": self.token, "account": self.account, "code": code} | fields
        return self.dev.api.post("/v1/recovery-codes/verify", json=body, headers=headers)


@pytest.fixture
def recovery_set(dev: Dev) -> RecoverySet:
    """A new set of a new account."""
    return RecoverySet(dev)


def test_ten_codes_are_returned_once(recovery_set: RecoverySet) -> None:
    """Four groups of four, without letters that look like digits."""
    assert {"recovery_set", "codes"} == {*recovery_set.members}
    assert 10 == len({*recovery_set.codes})
    for code in recovery_set.codes:
        assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}", code)
    assert re.fullmatch(r"r1\.[A-Za-z0-9_-]+", recovery_set.token)


def test_each_code_verifies_once(recovery_set: RecoverySet) -> None:
    """The second time it is 422 code-already-used, with the old token and with the new one."""
    code = recovery_set.codes[0]
    verified = recovery_set.verify(code)

    assert 200 == verified.status_code
    body = verified.json()
    assert {"status", "verified_at", "recovery_set", "codes_left"} == body.keys()
    assert ("verified", 9) == (body["status"], body["codes_left"])
    assert RFC_3339_UTC.fullmatch(body["verified_at"])
    for token in (recovery_set.token, body["recovery_set"]):
        refused = recovery_set.verify(code, recovery_set=token)
        assert 422 == refused.status_code
        assert "attempts_left" not in assert_problem(refused, "code-already-used")
    second = recovery_set.verify(recovery_set.codes[1])
    assert (200, 8) == (second.status_code, second.json()["codes_left"])


def test_a_person_s_spelling_is_accepted(recovery_set: RecoverySet) -> None:
    """Case, hyphens, spaces, and I, L and O are ignored."""
    first, second = recovery_set.codes[:2]

    typed = f" {first.replace('-', ' - ').lower().replace('1', 'i').replace('0', 'o')} "
    assert 200 == recovery_set.verify(typed).status_code
    assert 200 == recovery_set.verify(second.replace("-", "").replace("1", "L")).status_code


def test_a_wrong_code_is_422_and_five_an_hour_are_compared(recovery_set: RecoverySet) -> None:
    """The limit is of the account: a right code waits too, and another set is no fresh budget."""
    for _ in range(5):
        assert "attempts_left" not in assert_problem(recovery_set.verify(WRONG), "incorrect-code")

    limited = recovery_set.verify(recovery_set.codes[0])

    assert 3000 < assert_rate_limited(limited) <= 3600
    assert "RecoveryFailuresPerAccount" == limited.json()["limit"]
    body = {"account": recovery_set.account}
    newer = recovery_set.dev.api.post("/v1/recovery-codes", json=body).json()
    refused = recovery_set.verify(newer["codes"][0], recovery_set=newer["recovery_set"])
    assert_rate_limited(refused)
    unlocked = recovery_set.dev.api.post("/v1/accounts/unlock", json=body)
    assert 204 == unlocked.status_code
    answer = recovery_set.verify(recovery_set.codes[0])
    assert 200 == answer.status_code, answer.text


@pytest.mark.parametrize(
    "code", ["", "123456", "0" * 15, "0" * 17, "U" * 16, "\uff10" * 16, "0" * 15_000, 1, None]
)
def test_a_malformed_code_is_400_and_costs_nothing(recovery_set: RecoverySet, code: Any) -> None:
    for _ in range(6):
        assert_problem(recovery_set.verify(code), "malformed-code")

    answer = recovery_set.verify(recovery_set.codes[0])
    assert 200 == answer.status_code, answer.text


def test_a_body_of_a_hundred_kilobytes_is_413(recovery_set: RecoverySet) -> None:
    assert_problem(recovery_set.verify("0" * 100_000), "content-too-large")


def test_a_foreign_or_altered_set_is_invalid(recovery_set: RecoverySet) -> None:
    """Before the form of the code is looked at."""
    token, code = recovery_set.token, recovery_set.codes[0]
    last = "A" if token[-1] != "A" else "B"
    altered = [
        "",
        "r1.",
        token[:-1],
        token[:-1] + last,
        f"{token} ",
        token.upper(),
        "a1" + token[2:],
    ]
    for other in altered:
        for typed in (code, "malformed"):
            refused = recovery_set.verify(typed, recovery_set=other)
            assert 422 == refused.status_code
            assert_problem(refused, "invalid-recovery-set")
    assert_problem(recovery_set.verify(code, account="u-82"), "invalid-recovery-set")
    assert 200 == recovery_set.verify(code).status_code


def test_of_thirty_uses_of_one_code_at_once_one_is_200(recovery_set: RecoverySet) -> None:
    code = recovery_set.codes[0]

    answers = at_once(*[lambda: recovery_set.verify(code)] * 30)

    statuses = [answer.status_code for answer in answers]
    assert 1 == statuses.count(200)
    assert {200, 422, 429} >= {*statuses}


def test_a_repeat_with_its_key_gets_the_same_answer(recovery_set: RecoverySet) -> None:
    """The reply was lost, so the caller still has the old token."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = recovery_set.verify(recovery_set.codes[0], headers=key)

    repeated = recovery_set.verify(recovery_set.codes[0], headers=key)
    reused = recovery_set.verify(recovery_set.codes[1], headers=key)

    assert (200, first.json()) == (repeated.status_code, repeated.json())
    assert 422 == reused.status_code
    assert_problem(reused, "idempotency-key-reused")
    assert_problem(recovery_set.verify(recovery_set.codes[0]), "code-already-used")


def test_sets_of_an_account_are_limited(dev: Dev) -> None:
    """Five a day."""
    body = {"account": f"u-{uuid.uuid4()}"}
    for _ in range(5):
        assert 201 == dev.api.post("/v1/recovery-codes", json=body).status_code

    refused = dev.api.post("/v1/recovery-codes", json=body)

    assert 86_000 < assert_rate_limited(refused) <= 86_400
    assert "RecoverySetsPerAccount" == refused.json()["limit"]


def test_an_invalid_request_is_400(recovery_set: RecoverySet) -> None:
    api = recovery_set.dev.api
    for body in ({}, {"account": ""}, {"account": 1}, {"account": "u-81", "codes": 10}):
        assert_invalid(api.post("/v1/recovery-codes", json=body))
    code = recovery_set.codes[0]
    for fields in ({"account": None}, {"recovery_set": None}, {"client_ip": "x"}, {"more": 1}):
        assert_invalid(recovery_set.verify(code, **fields))
    assert 200 == recovery_set.verify(code, client_ip=None).status_code


def test_events_of_an_account_are_found_and_hold_no_secret(recovery_set: RecoverySet) -> None:
    """By account, in a body: neither the account nor a code is in a URL or an event."""
    recovery_set.verify(WRONG)
    verified = recovery_set.verify(recovery_set.codes[0])

    found = recovery_set.dev.api.post("/v1/audit/search", json={"account": recovery_set.account})

    assert 200 == found.status_code, found.text
    types = [event["type"] for event in found.json()["events"]]
    assert {"recovery.created", "recovery.rejected", "recovery.used"} <= {*types}
    secrets = [recovery_set.token, verified.json()["recovery_set"], *recovery_set.codes]
    for secret in [*secrets, recovery_set.account]:
        assert secret not in found.text
