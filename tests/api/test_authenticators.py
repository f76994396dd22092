"""The handlers of authenticators: views, what they pass on, and the slot of a QR code."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from otp_service.api import authenticators
from otp_service.core.admission import AdmissionControl
from otp_service.service.authenticator_check import AuthenticatorAnswer
from otp_service.service.authenticator_service import NewAuthenticator
from tests.api.fakes import NOW_MS, ApiHarness
from tests.qr_reader import read_qr_svg


URI = "otpauth://totp/Shop:u-81?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Shop"
NEW = NewAuthenticator("a1.token", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", URI, NOW_MS)


class FakeAuthenticators:
    """A fake AuthenticatorService with one slot, which counts enrolments."""

    def __init__(self) -> None:
        self.slots = AdmissionControl(1, 1)
        self.created_count = 0
        self.calls: list[tuple[Any, ...]] = []

    def take_slot(self, caller: Any) -> Any:
        """Take the slot."""
        return self.slots.acquire(caller.tenant.name)

    async def create(self, *_: Any) -> NewAuthenticator:
        """Return the same authenticator each time."""
        self.created_count += 1
        return NEW

    async def confirm(self, _caller: Any, *call: Any) -> AuthenticatorAnswer:
        """Record the request and the Idempotency-Key."""
        self.calls.append(call)
        return AuthenticatorAnswer("a1.active", NOW_MS)

    verify = confirm


@pytest.fixture
def fake() -> FakeAuthenticators:
    return FakeAuthenticators()


@pytest.fixture
def harness(fake: FakeAuthenticators) -> ApiHarness:
    """Return an API whose service has only authenticators."""
    return ApiHarness(service=SimpleNamespace(authenticators=fake))


async def create(harness: ApiHarness) -> Any:
    return await harness.call_public("POST", "/v1/authenticators", json={"account": "u-81"})


async def test_the_qr_code_is_that_of_the_link(
    harness: ApiHarness, fake: FakeAuthenticators
) -> None:
    """Another decoder reads the same text; the slot is free again afterwards."""
    response = await create(harness)

    assert 201 == response.status_code
    assert URI == response.json()["uri"] == read_qr_svg(response.json()["qr_svg"])
    assert "no-store" == response.headers["cache-control"]
    assert "location" not in response.headers
    assert 0 == fake.slots.in_use


async def test_the_qr_code_is_drawn_outside_of_the_event_loop(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 20 ms of CPU, for which every other request would wait."""

    def draw_outside(_uri: str) -> str:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return "<svg></svg>"

    monkeypatch.setattr(authenticators, "render_qr_svg", draw_outside)

    assert 201 == (await create(harness)).status_code


async def test_without_a_slot_no_authenticator_is_created(
    harness: ApiHarness, fake: FakeAuthenticators
) -> None:
    """503 before anything is recorded: enrolments have no limit of their own."""
    with fake.slots.acquire("shop"):
        response = await create(harness)

    assert 503 == response.status_code
    assert "/problems/overloaded" == response.json()["type"]
    assert "1" == response.headers["retry-after"]
    assert 0 == fake.created_count
    assert 201 == (await create(harness)).status_code


async def test_a_slot_is_free_after_a_failure(
    harness: ApiHarness, fake: FakeAuthenticators, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_uri: str) -> str:
        raise RuntimeError("no QR code")

    monkeypatch.setattr(authenticators, "render_qr_svg", fail)

    assert 500 == (await create(harness)).status_code
    assert 0 == fake.slots.in_use


@pytest.mark.parametrize(
    ("path", "view"),
    [
        ("confirm", {"status": "active", "confirmed_at": "2026-11-22T12:00:00.250Z"}),
        ("verify", {"status": "verified", "verified_at": "2026-11-22T12:00:00.250Z"}),
    ],
)
@pytest.mark.parametrize(("code", "passed"), [("123 456", "123 456"), (123456, ""), (None, "")])
async def test_a_code_is_passed_on_with_its_key(  # noqa: PLR0913, PLR0917
    harness: ApiHarness, fake: FakeAuthenticators, path: str, view: Any, code: Any, passed: str
) -> None:
    """R8: a code that is not text is as malformed as an empty one."""
    body = {"authenticator": "a1.token", "account": "u-81", "code": code}
    headers = {"Idempotency-Key": '"k 1"'}

    response = await harness.call_public(
        "POST", f"/v1/authenticators/{path}", json=body, headers=headers
    )

    assert 200 == response.status_code
    assert view | {"authenticator": "a1.active"} == response.json()
    ((request, key),) = fake.calls
    assert ("a1.token", "u-81", passed, "k 1") == (
        request.authenticator,
        request.account,
        request.code,
        key,
    )
