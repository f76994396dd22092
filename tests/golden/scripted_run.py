"""A scripted run on a real Redis, with fixed keys and randomness, which does a bit of everything."""

from contextlib import suppress
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
from otp_service.core.timestamps import DAY_SECONDS
from otp_service.service import OtpService
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


ACCOUNT, ADDRESS = "account-1", "203.0.113.9"


async def run_script(world: Installation) -> None:
    """Do a bit of everything, in a fixed order."""
    await _issue_and_verify(world)
    await _refuse_and_cancel(world)
    await _fail(world)
    await _change_numbers(world)
    await _share(world)
    await _seal(world)


def build_world(link: ScriptClient, metrics: Metrics) -> Installation:
    """Return an installation with fixed keys and randomness; wide limits last for hours."""
    world = Installation(link, fixed_keys(), random=fixed_random())
    wide = {
        limit: (Window(count=24, period_seconds=DAY_SECONDS),)
        for limit in Limit
        if limit.algorithm is Algorithm.GCRA
    }
    for name, tenant in world.tenants.items():
        world.tenants[name] = msgspec.structs.replace(tenant, limits={**DEFAULT_LIMITS, **wide})
    metered = msgspec.structs.replace(
        world.dependencies,
        store=InstrumentedStore(world.store, metrics),
        router=InstrumentedRouter(world.router, metrics),
        hasher=InstrumentedHasher(world.hasher, metrics),
    )
    world.service = OtpService(metered)
    return world


def build_metrics() -> Metrics:
    """Return metrics that know the tenants and providers of the script."""
    return Metrics("1.2.3", tenants=["shop", "bank"], providers=["p1", "p2", "p3"])


async def _issue_and_verify(world: Installation) -> None:
    person: dict[str, Any] = {"account": ACCOUNT, "client_ip": ADDRESS}
    issued = await world.issue("+447400123456", key="issue 1", locale="en", **person)
    world.advance_clock(31 * SECOND_MS)
    world.router.queue_replies(PROVIDER_REFUSAL, UNKNOWN_OUTCOME, ACCEPTED_REPLY)
    await world.resend(issued, key="resend 1")
    news = Receipt(status="delivered", reference=f"shop.{world.get_challenge_id(issued)}.2.3")
    await world.service.handle_receipt(world.build_caller(), "p3", news, trusted=True)
    code = world.router.extract_code()
    with suppress(OtpError):
        await world.verify(issued, make_wrong_code(code), client_ip=ADDRESS)
    for _ in range(2):
        await world.verify(issued, code, key="verify 1", client_ip=ADDRESS)
    with suppress(OtpError):
        await world.verify(issued, code)


async def _refuse_and_cancel(world: Installation) -> None:
    issued = await world.issue("+447400123457", account=ACCOUNT)
    for _ in range(12):  # more than ten are folded
        with suppress(OtpError):
            await world.issue("+447400123457", client_ip=ADDRESS)
    world.advance_clock(61 * SECOND_MS)
    partition = world.store.get_number_partition("+447400123457")
    await world.store.flush_folds(partition, world.dependencies.random.generate_operation_id())
    await world.service.cancel(world.build_caller(), world.get_challenge_id(issued))
    await world.issue("+447400123458", tenant="bank", purpose="payment")


async def _fail(world: Installation) -> None:
    issued = await world.issue("+447400123459", account=ACCOUNT, client_ip=ADDRESS)
    for by in range(1, 6):
        with suppress(OtpError):
            await world.verify(issued, make_wrong_code(world.router.extract_code(), by))
    world.router.queue_replies(PROVIDER_REFUSAL, PROVIDER_REFUSAL)
    with suppress(OtpError):
        await world.issue("+447400123460", account=ACCOUNT)


async def _change_numbers(world: Installation) -> None:
    operators, ids = NumberAdmin(world.store, world.keys.pseudonym), fixed_random()
    kept, freed = parse_number("+447400123461"), parse_number("+447400123462")
    for number, change, reason in (
        (kept, operators.block_number, "blocked"),
        (freed, operators.block_number, "blocked"),
        (freed, operators.unblock_number, "unblocked"),
    ):
        operation = world.dependencies.random.generate_operation_id()
        await change(
            number, BlocklistChanged(id=ids.generate_operation_id(), reason=reason), operation
        )
    with suppress(OtpError):
        await world.issue(kept.e164)


async def _share(world: Installation) -> None:
    remembered = LocalProviderHealth()
    sharing = ProviderHealthSync(
        world.store, remembered, world.dependencies.random, {"config": "test"}
    )
    failed = [
        HealthEvent(provider="p1", country="GB", at=NOW_MS + i, kind="failed", reason="down")
        for i in range(5)
    ]
    receipt = HealthEvent(
        provider="p2", country="GB", at=NOW_MS, kind="receipt", number_pseudonym="0a0b", score=0.0
    )
    remembered.record_events(
        [*failed, HealthEvent(provider="p3", country="GB", at=NOW_MS, kind="throttled"), receipt]
    )
    assert await sharing.sync_health()
    remembered.record_events(
        [HealthEvent(provider="p1", country="GB", at=NOW_MS + 60 * SECOND_MS, kind="accepted")]
    )
    assert await sharing.sync_health()
    submitted = MessageIdRecord(reference="shop.reference.1.1", number_suffix="3456")
    await RedisMessageIdIndex(world.store).put("smsc", "id-1", submitted)


async def _seal(world: Installation) -> None:
    """Have the log of one number's partition archived, up to its end."""
    sealing = RedisArchiveSource(
        world.script_client, world.store.key_names, max_stream_entries=5_000
    )
    fence = await sealing.acquire_lease(
        "holder-1", 4000, floor=6, status=msgspec.json.encode(STATUS)
    )
    partition = world.store.get_number_partition("+447400123456")
    (tail,) = await sealing.fetch_pending([partition], count=1000)
    place = tail.epoch, tail.last_position.sequence
    await sealing.mark_archived(
        fence, [ArchivedPosition(pending=tail, from_start=False, sequence_id=place)]
    )
