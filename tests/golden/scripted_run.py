"""A scripted run on a real Redis, with fixed keys and randomness, that makes every kind of call."""

from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from otp_service.app.provider_health_sync import ProviderHealthSync
from otp_service.core.delivery import Receipt
from otp_service.core.errors import OtpError
from otp_service.core.events import BlocklistChanged
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    Algorithm,
    Limit,
    Window,
)
from otp_service.core.log_entry import ArchivedPosition
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import MessageIdRecord
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.core.timestamps import DAY_SECONDS
from otp_service.service import OtpService
from otp_service.service.brake import Brake
from otp_service.sms.provider_health import HealthEvent
from otp_service.sms.router import LocalProviderHealth
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.client import ScriptClient
from otp_service.store.message_id_index import RedisMessageIdIndex
from otp_service.store.number_admin import NumberAdmin
from otp_service.telemetry import InstrumentedHasher, InstrumentedRouter, InstrumentedStore, Metrics
from tests.golden.archive_lines import STATUS
from tests.golden.fixed_inputs import NOW_MS, fixed_keys, fixed_random
from tests.installation import (
    ACCEPTED_REPLY,
    PROVIDER_REFUSAL,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    make_wrong_code,
)
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


ACCOUNT, ADDRESS = "account-1", "203.0.113.9"
DAY_BUDGET = 1_000_000_000


async def run_script(installation: Installation) -> None:
    """Make calls of every kind, in a fixed order."""
    await _issue_and_verify(installation)
    await _refuse_and_cancel(installation)
    await _fail_attempts(installation)
    await _change_numbers(installation)
    await _sync_provider_health(installation)
    await _archive_partition(installation)


def build_installation(script_client: ScriptClient, metrics: Metrics) -> Installation:
    """Return an installation with fixed keys and randomness, whose wide limits last for hours."""
    installation = Installation(script_client, fixed_keys(), random=fixed_random())
    wide = {
        limit: (Window(count=24, period_seconds=DAY_SECONDS),)
        for limit in Limit
        if limit.algorithm is Algorithm.GCRA
    }
    for name, tenant in installation.tenants.items():
        installation.tenants[name] = msgspec.structs.replace(
            tenant, limits={**DEFAULT_LIMITS, **wide}
        )
    dependencies = msgspec.structs.replace(
        installation.dependencies,
        store=InstrumentedStore(installation.store, metrics),
        router=InstrumentedRouter(installation.router, metrics),
        hasher=InstrumentedHasher(installation.hasher, metrics),
        brake=build_brake(),
    )
    installation.service = OtpService(dependencies)
    return installation


def build_brake() -> Brake:
    """Return the brake of one tenant; the other one has none."""
    settings = BrakeSettings(day_budget=DAY_BUDGET, mode=BrakeMode.REFUSE)
    return Brake({"shop": settings}, PriceTable(), now=lambda: NOW_MS)


def build_metrics() -> Metrics:
    """Return metrics with the tenants and providers of the script."""
    return Metrics("1.2.3", tenants=["shop", "bank"], providers=["p1", "p2", "p3"])


async def _issue_and_verify(installation: Installation) -> None:
    client_fields: dict[str, Any] = {"account": ACCOUNT, "client_ip": ADDRESS}
    issued = await installation.issue("+447400123456", key="issue 1", locale="en", **client_fields)
    installation.advance_clock(31 * SECOND_MS)
    installation.router.queue_replies(PROVIDER_REFUSAL, UNKNOWN_OUTCOME, ACCEPTED_REPLY)
    await installation.resend(issued, key="resend 1")
    receipt = Receipt(
        status="delivered", reference=f"shop.{installation.get_challenge_id(issued)}.2.3"
    )
    await installation.service.handle_receipt(
        installation.build_caller(), "p3", receipt, trusted=True
    )
    code = installation.router.extract_code()
    with suppress(OtpError):
        await installation.verify(issued, make_wrong_code(code), client_ip=ADDRESS)
    for _ in range(2):
        await installation.verify(issued, code, key="verify 1", client_ip=ADDRESS)
    with suppress(OtpError):
        await installation.verify(issued, code)
    assert 0 == await installation.dependencies.refunds.drain(
        WAIT_TIMEOUT_SECONDS
    )  # the shared debts are repaid


async def _refuse_and_cancel(installation: Installation) -> None:
    issued = await installation.issue("+447400123457", account=ACCOUNT)
    for _ in range(12):  # more than ten are folded
        with suppress(OtpError):
            await installation.issue("+447400123457", client_ip=ADDRESS)
    installation.advance_clock(61 * SECOND_MS)
    partition = installation.store.get_number_partition("+447400123457")
    await installation.store.flush_folds(
        partition, installation.dependencies.random.generate_operation_id()
    )
    await installation.service.cancel(
        installation.build_caller(), installation.get_challenge_id(issued)
    )
    await installation.issue("+447400123458", tenant="bank", purpose="payment")


async def _fail_attempts(installation: Installation) -> None:
    issued = await installation.issue("+447400123459", account=ACCOUNT, client_ip=ADDRESS)
    for by in range(1, 6):
        with suppress(OtpError):
            await installation.verify(
                issued, make_wrong_code(installation.router.extract_code(), by)
            )
    installation.router.queue_replies(PROVIDER_REFUSAL, PROVIDER_REFUSAL)
    with suppress(OtpError):
        await installation.issue("+447400123460", account=ACCOUNT)


async def _change_numbers(installation: Installation) -> None:
    operators, ids = NumberAdmin(installation.store, installation.keys.pseudonym), fixed_random()
    blocked, unblocked = parse_number("+447400123461"), parse_number("+447400123462")
    block_number = partial(operators.block_number, at=NOW_MS)
    for number, change, reason in (
        (blocked, block_number, "blocked"),
        (unblocked, block_number, "blocked"),
        (unblocked, partial(operators.unblock_number, tenants=installation.tenants), "unblocked"),
    ):
        operation = installation.dependencies.random.generate_operation_id()
        await change(
            number, BlocklistChanged(id=ids.generate_operation_id(), reason=reason), operation
        )
    with suppress(OtpError):
        await installation.issue(blocked.e164)


async def _sync_provider_health(installation: Installation) -> None:
    local_health = LocalProviderHealth()
    sync = ProviderHealthSync(
        installation.store, local_health, installation.dependencies.random, {"config": "test"}
    )
    failures = [
        HealthEvent(provider="p1", country="GB", at=NOW_MS + i, kind="failed", reason="down")
        for i in range(5)
    ]
    receipt = HealthEvent(
        provider="p2", country="GB", at=NOW_MS, kind="receipt", number_pseudonym="0a0b", score=0.0
    )
    local_health.record_events(
        [*failures, HealthEvent(provider="p3", country="GB", at=NOW_MS, kind="throttled"), receipt]
    )
    assert await sync.sync_health()
    local_health.record_events(
        [HealthEvent(provider="p1", country="GB", at=NOW_MS + 60 * SECOND_MS, kind="accepted")]
    )
    assert await sync.sync_health()
    record = MessageIdRecord(reference="shop.reference.1.1", number_suffix="3456")
    await RedisMessageIdIndex(installation.store).put("smsc", "id-1", record)


async def _archive_partition(installation: Installation) -> None:
    """Archive the log of one number's partition, up to its end."""
    source = RedisArchiveSource(
        installation.script_client, installation.store.key_names, max_stream_entries=5_000
    )
    fence = await source.acquire_lease(
        "holder-1", 4000, floor=6, status=msgspec.json.encode(STATUS)
    )
    partition = installation.store.get_number_partition("+447400123456")
    (tail,) = await source.fetch_pending([partition], count=1000)
    sequence_id = tail.epoch, tail.last_position.sequence
    await source.mark_archived(
        fence, [ArchivedPosition(pending=tail, from_start=False, sequence_id=sequence_id)]
    )
