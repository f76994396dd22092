"""What `otp-service why` says of the brake on SMS pumping, against the issue that follows it."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.errors import DebtLimited
from otp_service.core.limits import DEFAULT_LIMITS
from otp_service.core.phone_number import parse_number
from otp_service.core.pumping.overrides import ScopeOverride
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit, Floors
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.core.send_preview import SendPreview
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS
from otp_service.service.brake import Brake
from otp_service.service.context import Subject
from otp_service.service.otp_service import OtpService
from otp_service.store.client import ScriptClient
from tests.installation import gather_results
from tests.service.brake_books import PRICE, drain
from tests.service.test_send_previews import (
    FRENCH,
    NEIGHBOR,
    ONE,
    OTHER,
    Operator,
)


TIGHT_FLOORS = Floors(
    range_sends=(3, 4),
    block_sends=(4, 6),
    address_sends=(4, 6),
    address_countries=1,
    country_money=(6 * PRICE, 8 * PRICE),
    new_countries_money=(7 * PRICE, 10 * PRICE),
)
"""Every scope refuses within a few moves."""

CLOSED_MS = 3 * HOUR_MS


class BrakeOperator(Operator):
    """Asks for previews of an installation where only the brake refuses."""

    def __init__(self, client: ScriptClient, keys: Any = None) -> None:
        super().__init__(client, keys)
        world = self.installation
        for name, tenant in world.tenants.items():
            world.tenants[name] = msgspec.structs.replace(tenant, limits=self._widen_limits())
        modes = {"shop": BrakeMode.REFUSE, "bank": BrakeMode.RECORD}
        by_tenant = {
            name: BrakeSettings(12 * PRICE, mode, TIGHT_FLOORS) for name, mode in modes.items()
        }
        self.brake = Brake(by_tenant, PriceTable(), now=lambda: world.clock_shift_ms)
        world.dependencies = msgspec.structs.replace(world.dependencies, brake=self.brake)
        world.service = OtpService(world.dependencies)

    @staticmethod
    def _widen_limits() -> Any:
        return {
            limit: tuple(msgspec.structs.replace(window, count=1000) for window in windows)
            for limit, windows in DEFAULT_LIMITS.items()
        }

    async def verify(self, number: str, tenant: str, **client: Any) -> None:
        """Issue a code and verify it; a refusal is no error here."""
        try:
            issued = await self.installation.issue(number, tenant=tenant, **client)
        except DebtLimited:
            return
        code = self.installation.router.extract_code()
        await self.installation.verify(issued, code, tenant=tenant)
        await drain(self.installation)

    def override(self, action: Any, limit: DebtLimit, tenant: str, subject: str) -> None:
        """Open or close a scope, as a process knows it some seconds later."""
        now = self.installation.clock_shift_ms
        until = now + CLOSED_MS
        override = ScopeOverride(limit, tenant, subject, action, until, "a test", "ops", now)
        self.brake.overrides = self.brake.overrides.add_override(override, now)


@pytest.mark.parametrize("limit", [DebtLimit.UNVERIFIED_RANGE, DebtLimit.UNVERIFIED_COUNTRY])
async def test_a_known_number_is_admitted_where_a_scope_is_full(
    one_server_client: ScriptClient, limit: DebtLimit
) -> None:
    """Its record is in the partition of the number, and exempts it from what all share."""
    operator = BrakeOperator(one_server_client)
    await operator.verify(ONE, "shop")
    subject = ONE[:-4] if limit is DebtLimit.UNVERIFIED_RANGE else "GB"
    tenant = "" if limit is DebtLimit.UNVERIFIED_RANGE else "shop"
    operator.override("closed", limit, tenant, subject)

    known = await operator.check(ONE, "shop")
    unknown = await operator.check(NEIGHBOR, "shop")

    assert (known.is_known, known.error) == (True, None)
    assert (unknown.is_known, limit) == (False, unknown.error.limit)  # type: ignore[union-attr]
    assert CLOSED_MS == unknown.wait_ms
    (closed,) = (debt for debt in known.debts if debt.state.charge.bucket.limit is limit)
    assert (True, False) == (closed.state.is_full, closed.is_over)


async def test_a_delivery_is_decided_by_the_volume_and_an_issue_by_what_is_unverified(
    one_server_client: ScriptClient,
) -> None:
    """The volume of the country is full: each of the two gets what its preview says."""
    operator = BrakeOperator(one_server_client)
    world = operator.installation
    calls = [world.deliver(number=f"+4474001{index:02}456") for index in range(20)]
    *_, refusal = [one for one in await gather_results(*calls) if isinstance(one, DebtLimited)]

    delivery, issue = [
        (
            await world.service.send_previewer.preview_sends(
                world.build_caller(),
                Subject(parse_number(ONE)),
                [world.tenants["shop"]],
                delivering,
            )
        )[0]
        for delivering in (["shop"], [])
    ]

    assert delivery.error is not None
    assert (True, refusal.limit) == (delivery.is_delivery, delivery.error.limit)  # type: ignore[attr-defined]
    assert {limit.startswith("Volume") for limit in _list_limits(delivery)} == {True}
    assert (False, None) == (issue.is_delivery, issue.error)
    await world.issue(ONE)
    with pytest.raises(DebtLimited):
        await world.deliver(number=ONE)


def _list_limits(preview: SendPreview) -> list[str]:
    """Return the limits of the brake in a preview, but for the budget of the day."""
    limits = [debt.state.charge.bucket.limit for debt in preview.debts]
    return [limit.value for limit in limits if limit is not DebtLimit.SPEND_OVERALL]


@pytest.mark.parametrize("is_rotated", [False, True])
async def test_a_number_that_has_used_up_its_exemption_is_admitted_when_it_returns(
    one_server_client: ScriptClient, *, is_rotated: bool
) -> None:
    """Before the country is open again, and also by a record under the earlier limit key."""
    operator = BrakeOperator(one_server_client)
    await operator.verify(ONE, "shop")
    for _ in range(3):
        operator.installation.advance_clock(MINUTE_MS)
        await operator.installation.issue(ONE)
    operator.installation.advance_clock(22 * HOUR_MS)
    if is_rotated:
        operator = operator.rotate_limit_key()
    operator.override("closed", DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB")

    preview = await operator.check(ONE, "shop")

    assert isinstance(preview.error, DebtLimited)
    assert 2 * HOUR_MS - 2 * MINUTE_MS == preview.wait_ms == 1000 * preview.error.retry_after
    await operator.check_instant(preview, ONE)


clients = st.fixed_dictionaries({}, optional={"client_ip": st.just("203.0.113.9")})
numbers = st.sampled_from([ONE, ONE, NEIGHBOR, OTHER, FRENCH])
tenants = st.sampled_from(["shop", "shop", "bank"])
overrides = st.sampled_from(
    [
        (DebtLimit.UNVERIFIED_RANGE, "", ONE[:-4]),
        (DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB"),
        (DebtLimit.UNVERIFIED_COUNTRY, "bank", "GB"),
        (DebtLimit.SPEND_OVERALL, "", ""),
    ]
)
moves = st.one_of(
    st.tuples(st.just("send"), numbers, tenants, clients),
    st.tuples(st.just("send"), numbers, tenants, clients),
    st.tuples(st.just("verify"), numbers, tenants, clients),
    st.tuples(st.just("wait"), st.integers(0, 8 * HOUR_MS)),
    st.tuples(st.sampled_from(["open", "closed"]), overrides),
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(moves, min_size=5, max_size=20))
async def test_a_preview_knows_what_the_brake_decides(
    one_server_client: ScriptClient, history: list[tuple[Any, ...]]
) -> None:
    """The same scope, figures and Retry-After, for known and unknown numbers, in both modes."""
    operator = BrakeOperator(one_server_client)
    for move in history:
        match move:
            case ("send", number, tenant, client):
                preview = await operator.check(number, tenant, **client)
                assert isinstance(preview.error, DebtLimited) == (preview.admits_at is not None)
                await operator.check_instant(preview, number, **client)
            case ("verify", number, tenant, client):
                await operator.verify(number, tenant, **client)
            case ("wait", milliseconds):
                operator.installation.advance_clock(milliseconds)
            case (action, scope):
                operator.override(action, *scope)
            case _:
                raise AssertionError(move)
