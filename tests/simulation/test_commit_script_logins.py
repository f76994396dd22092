"""Calls of the service whose commits run on a real server and on the model (issue 16)."""

import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from otp_service.core.errors import OtpError, RateLimited
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import BrakeMode, Floors
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.service.brake import Brake
from otp_service.store.embedded import EmbeddedServer
from tests.installation import MINUTE_MS, PROVIDER_REFUSAL, Installation, make_wrong_code
from tests.service.app_user import AppUser
from tests.simulation.commit_twins.twins import TwinClient


NUMBERS = [f"+4474001234{i}" for i in range(50, 54)]
CLIENT_IP = "203.0.113.9"
NARROW_FLOORS = Floors(range_sends=(2, 3), country_money=(120_000, 200_000))


@pytest.fixture
async def twins(server: EmbeddedServer) -> AsyncIterator[TwinClient]:
    async with TwinClient(server) as client:
        yield client


def start_brake(installation: Installation, mode: BrakeMode) -> Installation:
    """Return the installation with a brake whose scopes have room for few sends."""
    settings = BrakeSettings(10_000_000, mode, NARROW_FLOORS)
    brakes = dict.fromkeys(installation.tenants, settings)
    brake = Brake(brakes, PriceTable(), now=lambda: 0)
    return installation.restart(brake=brake)


@pytest.mark.parametrize("mode", list(BrakeMode))
async def test_logins_have_the_same_replies_and_data(twins: TwinClient, mode: BrakeMode) -> None:
    """Sent and refused, verified and not, in the hour in which the brake runs out of room."""
    installation = start_brake(Installation(twins), mode)

    for number, round_ in itertools.product(NUMBERS, range(2)):
        with contextlib.suppress(OtpError):
            is_right = number != NUMBERS[1]
            await log_in(installation, number, f"{number}-{round_}", is_right=is_right)
        await installation.dependencies.refunds.drain(5)
        twins.pass_time(MINUTE_MS)
        installation.advance_clock(MINUTE_MS)

    twins.compare_data()
    replies = {reply[0] for reply in twins.replies}
    assert {b"done", b"refused", b"no_epoch"} <= replies
    assert (mode is BrakeMode.REFUSE) == (b"over_debt" in replies)


async def log_in(installation: Installation, number: str, key: str, *, is_right: bool) -> None:
    """Issue twice with one key and once too early, miss a provider, resend, guess wrong then maybe right, twice."""
    client = {"account": number[-2:], "client_ip": CLIENT_IP}
    issued = await installation.issue(number, key=key, **client)
    await installation.issue(number, key=key, **client)
    with contextlib.suppress(RateLimited):
        await installation.issue(number, **client)
    installation.advance_clock(MINUTE_MS // 2)
    installation.router.queue_replies(PROVIDER_REFUSAL)
    with contextlib.suppress(OtpError):
        await installation.resend(issued)
    code = installation.router.extract_code()
    for guess in (make_wrong_code(code), *[code] * (2 * is_right)):
        with contextlib.suppress(OtpError):
            await installation.verify(issued, guess, client_ip=CLIENT_IP)


async def test_authenticators_have_the_same_replies_and_data(twins: TwinClient) -> None:
    """Enrolled, verified, replayed, guessed until the limit, and after a restart of the server."""
    user = AppUser(Installation(twins))
    await user.enroll()
    await user.start_step()
    code = await user.read_code()

    await user.verify(code, key="one")
    twins.restart()
    for guess in (code, *(make_wrong_code(code, offset) for offset in range(1, 8))):
        with contextlib.suppress(OtpError):
            await user.verify(guess)

    twins.compare_data()
    assert {b"done", b"refused", b"no_epoch"} <= {reply[0] for reply in twins.replies}
