"""/v1/recovery-codes: what the API accepts, passes on and returns."""

from typing import Any

import pytest

from otp_service.core import errors
from otp_service.service.recovery_code_check import RecoveryAnswer
from otp_service.service.recovery_sets import CreatedRecoverySet
from tests.api.fakes import NOW_MS, ApiHarness


CREATE = "/v1/recovery-codes"
VERIFY = "/v1/recovery-codes/verify"
BODY = {"recovery_set": "r1.AAAA", "account": "u-81", "code": "7K3M-9QXT-2ZRD-V8HA"}


@pytest.fixture
def created(api: ApiHarness) -> CreatedRecoverySet:
    """Let the service answer with a new set."""
    answer = CreatedRecoverySet("r1.new", tuple(f"000{i}-0000-0000-0000" for i in range(10)))
    api.service.snapshot = answer
    return answer


async def test_a_new_set_is_201_with_its_codes(
    api: ApiHarness, created: CreatedRecoverySet
) -> None:
    """It has no URL: the caller keeps it."""
    response = await api.call_public("POST", CREATE, json={"account": "u-81"})

    assert 201 == response.status_code
    assert {"recovery_set": "r1.new", "codes": list(created.codes)} == response.json()
    assert "location" not in response.headers
    assert "no-store" == response.headers["cache-control"]
    name, caller, request = api.service.calls[0]
    assert ("create_set", "shop", "u-81") == (name, caller.tenant.name, request.account)


async def test_a_verified_code_is_200_with_the_rest_of_the_set(api: ApiHarness) -> None:
    api.service.snapshot = RecoveryAnswer("r1.rest", 7, NOW_MS)
    body = BODY | {"client_ip": "203.0.113.9"}

    response = await api.call_public(
        "POST", VERIFY, json=body, headers={"Idempotency-Key": '"try-1"'}
    )

    assert 200 == response.status_code
    assert {
        "status": "verified",
        "verified_at": "2026-11-22T12:00:00.250Z",
        "recovery_set": "r1.rest",
        "codes_left": 7,
    } == response.json()
    name, _, request, key = api.service.calls[0]
    assert ("verify_code", "203.0.113.9", "try-1") == (name, request.client_ip, key)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"account": ""},
        {"account": None},
        {"account": "a" * 129},
        {"account": "a\0b"},
        {"account": 81},
        {"account": "u-81", "count": 20},
        {"account": "u-81", "client_ip": "203.0.113.9"},
    ],
)
async def test_an_invalid_creation_is_400(api: ApiHarness, body: dict[str, Any]) -> None:
    response = await api.call_public("POST", CREATE, json=body)

    assert (400, "/problems/invalid-request") == (response.status_code, response.json()["type"])
    assert [] == api.service.calls


@pytest.mark.parametrize("missing", BODY)
async def test_each_member_of_a_verify_is_required(api: ApiHarness, missing: str) -> None:
    body = {name: value for name, value in BODY.items() if name != missing}

    response = await api.call_public("POST", VERIFY, json=body)

    assert 400 == response.status_code
    assert [{"path": missing, "message": "is missing"}] == response.json()["errors"]


@pytest.mark.parametrize(
    "more",
    [
        {"recovery_set": 1},
        {"recovery_set": None},
        {"account": ["u-81"]},
        {"purpose": "login"},
    ],
)
async def test_an_invalid_verify_is_400(api: ApiHarness, more: dict[str, Any]) -> None:
    """Also before the token is looked at: 400 comes before 422."""
    api.service.error = errors.InvalidRecoverySet()

    response = await api.call_public("POST", VERIFY, json=BODY | more)

    assert 400 == response.status_code
    assert [next(iter(more))] == [error["path"] for error in response.json()["errors"]]


@pytest.mark.parametrize("code", [1234, None, True, ["0000"], {}])
async def test_a_code_of_another_type_is_as_malformed_as_any(api: ApiHarness, code: Any) -> None:
    """It is refused after an invalid set (R8)."""
    await api.call_public("POST", VERIFY, json=BODY | {"code": code})

    assert "" == api.service.calls[0][2].code


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRecoverySet(), 422),
        (errors.IncorrectCode(), 422),
        (errors.CodeAlreadyUsed(), 422),
        (errors.AccountLocked(), 403),
        (errors.MalformedCode(), 400),
        (errors.IdempotencyKeyReused(), 422),
        (errors.Overloaded(), 503),
    ],
)
async def test_a_refusal_is_its_problem(
    api: ApiHarness, error: errors.OtpError, status: int
) -> None:
    """No refusal reports how many attempts are left."""
    api.service.error = error

    response = await api.call_public("POST", VERIFY, json=BODY)

    assert status == response.status_code
    assert f"/problems/{error.problem_type}" == response.json()["type"]
    assert "attempts_left" not in response.json()


@pytest.mark.parametrize("path", [CREATE, VERIFY])
@pytest.mark.parametrize("key", ["operator", "shop-audit", "security"])
async def test_the_scope_is_challenges(api: ApiHarness, path: str, key: str) -> None:
    response = await api.call_public("POST", path, key=key, json=BODY)

    assert (403, "/problems/forbidden") == (response.status_code, response.json()["type"])


@pytest.mark.parametrize("path", [CREATE, VERIFY])
async def test_other_methods_are_405(api: ApiHarness, path: str) -> None:
    """A token is never in a URL."""
    response = await api.call_public("GET", path)

    assert (405, "POST") == (response.status_code, response.headers["allow"])
