"""`OtpService.send_previewer` against the issue that follows it, after random histories."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.charges import build_account_lock_check, build_consecutive_failure_charge
from otp_service.core.commit import Commit
from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendEntry
from otp_service.core.errors import OtpError, RateLimited
from otp_service.core.events import BlocklistChanged
from otp_service.core.keys import KeyRing
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    MAX_CONSECUTIVE_FAILURES,
    Algorithm,
    Limit,
    Window,
)
from otp_service.core.phone_number import parse_number
from otp_service.core.send_preview import BucketPreview, SendPreview
from otp_service.service.context import CallContext, Subject
from otp_service.service.send_charger import SendCharger
from otp_service.store.client import ScriptClient
from otp_service.store.lua_script import LuaScript
from tests.installation import Installation, generate_keys
from tests.service.frozen_workers import INSPECT_SCRIPT, NOW, freeze_clock


ONE, NEIGHBOR, OTHER, FRENCH = "+447400123456", "+447400123457", "+447911123456", "+33612345678"

TIGHT_LIMITS = {
    **DEFAULT_LIMITS,
    Limit.SENDS_NUMBER_TENANT: (Window(2, 90), Window(4, 900)),
    Limit.SENDS_NUMBER: (Window(3, 200), Window(6, 1000)),
    Limit.SENDS_PREFIX_TENANT: (Window(3, 300), Window(7, 900)),
    Limit.SENDS_PREFIX: (Window(4, 300), Window(9, 1200)),
    Limit.SENDS_ADDRESS: (Window(3, 210),),
    Limit.SENDS_ACCOUNT: (Window(3, 250),),
    Limit.SENDS_COUNTRY_TENANT: (Window(4, 400),),
    Limit.SENDS_COUNTRY: (Window(6, 500),),
    Limit.SENDS_TENANT: (Window(5, 400),),
    Limit.SENDS_OVERALL: (Window(7, 400),),
}
"""Every limit of a send refuses within a few moves."""

CLIENT = {"account": "u-1", "client_ip": "203.0.113.9"}
"""With these members, every limit of a send takes part."""

SEND_LIMITS = (Limit.COOLDOWN, *(limit for limit in Limit if limit.startswith("Sends")))

few = settings(
    max_examples=15,
    deadline=None,
    # Each example has keys of its own, so it needs no empty Redis.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Operator:
    """Asks for previews of an installation whose clock only the test moves."""

    def __init__(self, client: ScriptClient, keys: Any = None) -> None:
        self.installation = Installation(client, keys)
        for name, tenant in self.installation.tenants.items():
            limited = msgspec.structs.replace(tenant, limits=TIGHT_LIMITS)
            self.installation.tenants[name] = limited
        freeze_clock(self.installation.store)
        self.installation.clock_shift_ms = NOW
        self.was_set_back = False

    def rotate_limit_key(self) -> Self:
        """Return the operator of the same installation after it was given a new limit key."""
        old = self.installation.keys
        limit = KeyRing((*generate_keys("2").limit, *old.limit))
        keys = msgspec.structs.replace(old, limit=limit)
        other = type(self)(self.installation.script_client, keys)
        other.installation.clock_shift_ms = self.installation.clock_shift_ms
        other.was_set_back = self.was_set_back
        return other

    async def preview(
        self,
        number: str,
        tenant: str = "shop",
        *,
        account: str | None = None,
        client_ip: str | None = None,
    ) -> SendPreview:
        """Return what an issue with these members would get."""
        previewer = self.installation.service.send_previewer
        subject = Subject.from_request(
            parse_number(number, allow_fictitious=True), account, client_ip
        )
        caller, tenants = self.installation.build_caller(), [self.installation.tenants[tenant]]
        (preview,) = await previewer.preview_sends(caller, subject, tenants)
        return preview

    async def check(self, number: str, tenant: str, **client: Any) -> SendPreview:
        """Compare a preview with the issue that follows it."""
        preview = await self.preview(number, tenant, **client)
        error = None
        try:
            await self.installation.issue(number, tenant=tenant, **client)
        except OtpError as refusal:
            error = refusal
        assert describe_error(preview.error) == describe_error(error)
        assert (preview.error is not None) == any_refuses(preview)
        return preview

    async def check_instant(self, preview: SendPreview, number: str, **more: Any) -> None:
        """Check that limits which refuse do so until the instant of the preview, and no longer.

        A clock that was set back is excluded: a bucket that no commit has corrected since counts the same
        charge as one of now at each inspection.
        """
        if preview.admits_at is None or self.was_set_back:
            return
        now = self.installation.clock_shift_ms
        self.installation.clock_shift_ms = preview.admits_at - 1
        assert any_refuses(await self.preview(number, preview.tenant, **more))
        self.installation.clock_shift_ms = preview.admits_at
        assert (await self.preview(number, preview.tenant, **more)).error is None
        self.installation.clock_shift_ms = now

    async def lock(self, charge: Any, partition: int) -> None:
        """Lock the subject of a charge of consecutive failures."""
        failures = msgspec.structs.replace(charge, cost=MAX_CONSECUTIVE_FAILURES, force=True)
        operation_id = self.installation.dependencies.random.generate_operation_id()
        commit = Commit(partition=partition, operation_id=operation_id, charges=(failures,))
        await self.installation.store.commit(commit)

    async def fill(self, limit: Limit, number: str, tenant: str, **client: Any) -> None:
        """Use up one limit of a send, which costs the others nothing."""
        installation = self.installation
        caller = msgspec.structs.replace(
            installation.build_caller(), tenant=installation.tenants[tenant]
        )
        subject = Subject.from_request(
            parse_number(number), client.get("account"), client.get("client_ip")
        )
        context = CallContext(installation.dependencies, caller, subject)
        charger = SendCharger(installation.dependencies, context, parse_number(number))
        for commit in charger.build_commits(charger.plan()):
            filled = tuple(
                msgspec.structs.replace(charge, cost=charge.windows[0].count, force=True)
                for charge in commit.charges
                if charge.bucket.limit is limit
            )
            await installation.store.commit(
                Commit(partition=commit.partition, operation_id=commit.operation_id, charges=filled)
            )

    async def lock_number(self, number: str, tenant: str) -> None:
        phone = parse_number(number)
        charge = build_consecutive_failure_charge(self.installation.tenants[tenant], phone)
        await self.lock(charge, self.installation.store.get_number_partition(phone.canonical))

    async def lock_account(self, account: str, tenant: str) -> None:
        charge = build_account_lock_check(self.installation.tenants[tenant], account)
        await self.lock(charge, self.installation.store.get_bucket_partition(charge.bucket))

    async def block(self, number: str) -> None:
        registry, random = (
            self.installation.dependencies.number_registry,
            self.installation.dependencies.random,
        )
        event = BlocklistChanged(id=random.generate_operation_id(), reason="blocked")
        await registry.block_number(parse_number(number), event, random.generate_operation_id())

    async def opt_out(self, number: str, tenant: str) -> None:
        caller = self.installation.build_caller()
        caller = msgspec.structs.replace(
            caller, tenant=msgspec.structs.replace(caller.tenant, name=tenant)
        )
        entry = DoNotSendEntry(number, NOW, "p1", "447400999001")
        numbers = self.installation.service.numbers
        await numbers.import_opt_out(caller, parse_number(number), entry)


def describe_error(error: OtpError | None) -> Any:
    """Return what a caller gets of a refusal."""
    if isinstance(error, RateLimited):
        return (error.limit, error.retry_after, error.quota, error.period_seconds)
    return error and (type(error), error.reason)


def any_refuses(preview: SendPreview) -> bool:
    """Whether the number or one of the limits refuses; what is used of a limit must agree."""
    for bucket in preview.buckets:
        if bucket.state.charge.bucket.limit.algorithm is not Algorithm.CONSECUTIVE_FAILURES:
            assert bucket.refuses == has_used_up(bucket), bucket
    is_over_limit = any(bucket.refuses for bucket in preview.buckets)
    is_over_debt = any(debt.refuses for debt in preview.debts)
    is_refused_otherwise = preview.error is not None and not isinstance(preview.error, RateLimited)
    return is_over_limit or is_over_debt or is_refused_otherwise


def has_used_up(bucket: BucketPreview) -> bool:
    state = bucket.state
    return any(
        used + state.charge.cost > window.count
        for used, window in zip(state.used, state.charge.windows, strict=True)
    )


@pytest.fixture
def operator(script_client: ScriptClient) -> Operator:
    """Return the operator of a new installation on each kind of Redis in turn."""
    return Operator(script_client)


numbers = st.sampled_from([ONE, ONE, NEIGHBOR, OTHER, FRENCH])
tenants = st.sampled_from(["shop", "bank"])
clients = st.fixed_dictionaries(
    {},
    optional={
        "account": st.sampled_from(["u-1", "u-2"]),
        "client_ip": st.sampled_from(["203.0.113.9", "198.51.100.1"]),
    },
)
sends = st.tuples(st.just("send"), numbers, tenants, clients)
waits = st.one_of(st.integers(0, 400_000), st.integers(25_000, 40_000), st.integers(-20_000, 0))
moves = st.one_of(
    sends,
    sends,
    sends,
    st.tuples(st.just("wait"), waits),
    st.tuples(st.just("wait"), st.just(30_000)),
    st.tuples(st.just("fill"), st.sampled_from(list(SEND_LIMITS)), numbers, tenants),
    st.tuples(
        st.sampled_from(["lock", "lock account", "block", "opt out"]),
        st.sampled_from([OTHER, FRENCH]),
        tenants,
    ),
)


async def make_move(operator: Operator, move: tuple[Any, ...]) -> None:
    match move:
        case ("send", number, tenant, client):
            preview = await operator.check(number, tenant, **client)
            await operator.check_instant(preview, number, **client)
        case ("fill", limit, number, tenant):
            await operator.fill(limit, number, tenant, **CLIENT)
        case ("wait", milliseconds):
            operator.installation.advance_clock(milliseconds)
            operator.was_set_back |= milliseconds < 0
        case ("lock", number, tenant):
            await operator.lock_number(number, tenant)
        case ("lock account", _, tenant):
            await operator.lock_account("u-2", tenant)
        case ("block", number, _):
            await operator.block(number)
        case ("opt out", number, tenant):
            await operator.opt_out(number, tenant)
        case _:
            raise AssertionError(move)


@few
@given(st.lists(moves, min_size=5, max_size=30))
async def test_a_preview_is_what_the_next_issue_gets(
    script_client: ScriptClient, history: list[tuple[Any, ...]]
) -> None:
    """The same refusal, limit, window and Retry-After; and it ends at the instant of the preview."""
    operator = Operator(script_client)
    for move in history:
        await make_move(operator, move)


@few
@given(
    st.lists(moves, min_size=1, max_size=12),
    st.lists(moves, min_size=1, max_size=12),
)
async def test_a_preview_is_what_the_next_issue_gets_during_a_rotation_of_the_limit_key(
    script_client: ScriptClient, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    """Locks, blocks and opt-outs count that are stored under the earlier key."""
    operator = Operator(script_client)
    for move in before:
        await make_move(operator, move)
    operator = operator.rotate_limit_key()
    for move in after:
        await make_move(operator, move)


@pytest.mark.parametrize("limit", SEND_LIMITS)
async def test_every_limit_of_a_send_is_named_with_its_end(
    operator: Operator, limit: Limit
) -> None:
    """One that is used up refuses alone, whichever partition it is in."""
    await operator.fill(limit, ONE, "shop", **CLIENT)

    preview = await operator.check(ONE, "shop", **CLIENT)

    assert isinstance(preview.error, RateLimited)
    assert limit == preview.error.limit
    assert [limit] == [one.state.charge.bucket.limit for one in preview.buckets if one.refuses]
    await operator.check_instant(preview, ONE, **CLIENT)


async def test_of_several_limits_the_end_of_the_last_one_is_the_end(operator: Operator) -> None:
    """The caller gets the first one that refuses, which is another one here."""
    await operator.fill(Limit.SENDS_ADDRESS, ONE, "shop", **CLIENT)  # 210 s
    await operator.fill(Limit.SENDS_NUMBER_TENANT, ONE, "shop", **CLIENT)  # 90 s
    await operator.fill(Limit.SENDS_OVERALL, ONE, "shop", **CLIENT)  # 400 s for 7, so 58 s

    preview = await operator.check(ONE, "shop", **CLIENT)

    assert isinstance(preview.error, RateLimited)
    assert Limit.SENDS_ADDRESS == preview.error.limit
    assert NOW + 90_000 == preview.admits_at  # one of the address drains in 70 s
    await operator.check_instant(preview, ONE, **CLIENT)


Refusal = Callable[[Operator], Awaitable[None]]
REFUSALS: dict[str, Refusal] = {
    "blocked": lambda operator: operator.block(ONE),
    "opted_out": lambda operator: operator.opt_out(ONE, "shop"),
    "number_locked": lambda operator: operator.lock_number(ONE, "shop"),
    "account_locked": lambda operator: operator.lock_account("u-1", "shop"),
}


@pytest.mark.parametrize("limit_keys", [1, 2])
@pytest.mark.parametrize("reason", REFUSALS)
async def test_what_an_operator_must_lift_has_no_end(
    operator: Operator, reason: str, limit_keys: int
) -> None:
    """Also with two limit keys, for this tenant alone where it is its own, and before other limits."""
    await REFUSALS[reason](operator)
    await operator.fill(Limit.SENDS_ACCOUNT, ONE, "shop", **CLIENT)
    if limit_keys > 1:
        operator = operator.rotate_limit_key()

    shop = await operator.check(ONE, "shop", account="u-1")
    bank = await operator.check(ONE, "bank", account="u-1")

    assert shop.error
    assert (reason, None) == (shop.error.reason, shop.admits_at)
    assert ("blocked" if reason == "blocked" else None) == (bank.error and bank.error.reason)


@pytest.mark.parametrize("limit_keys", [1, 2])
async def test_an_opt_out_says_for_whom_it_is(operator: Operator, limit_keys: int) -> None:
    """That of another tenant is not shown, although all of them are read at once."""
    await operator.opt_out(ONE, ALL_TENANTS)
    await operator.opt_out(ONE, "bank")
    if limit_keys > 1:
        operator = operator.rotate_limit_key()
    installation = operator.installation

    shop, bank = await installation.service.send_previewer.preview_sends(
        installation.build_caller(),
        Subject(parse_number(ONE)),
        [installation.tenants["shop"], installation.tenants["bank"]],
    )

    assert [ALL_TENANTS] == [one.tenant for one in shop.opt_outs]
    assert {ALL_TENANTS, "bank"} == {one.tenant for one in bank.opt_outs}


@pytest.mark.parametrize("limit", SEND_LIMITS)
async def test_a_bucket_that_was_filled_while_the_clock_was_ahead_is_corrected(
    operator: Operator, limit: Limit
) -> None:
    """Its charges count as those of now, as in the issue that follows."""
    await operator.fill(limit, ONE, "shop", **CLIENT)
    operator.installation.advance_clock(-20_000)

    preview = await operator.check(ONE, "shop", **CLIENT)

    assert isinstance(preview.error, RateLimited)
    assert limit == preview.error.limit


async def test_a_number_that_the_tenant_may_not_send_to_needs_no_limits(operator: Operator) -> None:
    """A landline, and a number of another country."""
    shop = operator.installation.tenants["shop"]
    operator.installation.tenants["shop"] = msgspec.structs.replace(
        shop, countries=frozenset({"GB"})
    )

    french = await operator.check(FRENCH, "shop")

    assert french.error
    assert ("country", ()) == (french.error.reason, french.buckets)


async def dump_redis(installation: Installation) -> dict[bytes, Any]:
    """Return every key with its value and the instant of its end."""
    dump = {}
    for key in await installation.list_keys():
        name = key.decode()
        commands = [("DUMP", name), ("PEXPIRETIME", name)]
        dump[key] = await installation.script_client.run_pipeline(name, commands)
    return dump


@pytest.mark.parametrize("step_ms", [0, -20_000], ids=["now", "after the clock was set back"])
async def test_a_preview_changes_nothing(operator: Operator, step_ms: int) -> None:
    """Neither a bucket, an event nor the end of a key, also where a commit would correct a bucket."""
    await operator.installation.issue(ONE, **CLIENT)
    operator.installation.advance_clock(step_ms)
    before = await dump_redis(operator.installation)

    previews = [await operator.preview(ONE, name, **CLIENT) for name in ("shop", "bank")]

    assert all(preview.error for preview in previews)  # by the cooldown
    assert before == await dump_redis(operator.installation)


async def test_previews_of_all_tenants_are_read_at_once(operator: Operator) -> None:
    """Each partition has one script, and those of the number and of all tenants are shared."""
    calls = []
    client = operator.installation.script_client
    run_script = client.run_script

    async def count_call(script: LuaScript, *arguments: Any, **options: Any) -> Any:
        calls.append(script)
        return await run_script(script, *arguments, **options)

    client.run_script = count_call  # type: ignore[method-assign]
    tenants = list(operator.installation.tenants.values())
    subject = Subject(parse_number(ONE))
    caller = operator.installation.build_caller()
    previewer = operator.installation.service.send_previewer

    previews = await asyncio.wait_for(previewer.preview_sends(caller, subject, tenants), 30)

    store = operator.installation.store
    commits = {store.get_number_partition(parse_number(ONE).canonical)}
    commits |= {
        store.get_bucket_partition(bucket.state.charge.bucket)
        for preview in previews
        for bucket in preview.buckets
        if bucket.state.charge.bucket.limit
        in {Limit.SENDS_TENANT, Limit.SENDS_COUNTRY, Limit.SENDS_OVERALL}
    }
    assert [INSPECT_SCRIPT] * len(commits) == calls
