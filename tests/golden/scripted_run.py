"""A scripted run on a real Redis, with fixed keys and randomness, which does a bit of everything."""

from contextlib import suppress
from typing import Any

import msgspec

from otp_service.app.provider_health_sync import Sharing
from otp_service.core.delivery import Receipt
from otp_service.core.errors import OtpError
from otp_service.core.events import ListChanged
from otp_service.core.limits import DAY, DEFAULTS, Kind, Limit, Window
from otp_service.core.log_entry import Mark
from otp_service.core.phone_number import parse
from otp_service.core.ports import Submitted
from otp_service.service import OtpService
from otp_service.sms.provider_health import Observation
from otp_service.sms.router import Remembered
from otp_service.store.archive_source import RedisSealing
from otp_service.store.client import Link
from otp_service.store.message_ids import RedisSubmissions
from otp_service.store.number_admin import Operators
from otp_service.telemetry import CountedRouter, Metered, Metrics, TimedHasher
from tests.golden.archive_lines import STATUS
from tests.golden.fixed_inputs import NOW_MS, fixed_keys, fixed_random
from tests.installation import MAYBE, REFUSED, SECOND, TAKEN, World, wrong


ACCOUNT, ADDRESS = "account-1", "203.0.113.9"


async def run_script(world: World) -> None:
    """Do a bit of everything, in a fixed order."""
    await _issue_and_verify(world)
    await _refuse_and_cancel(world)
    await _fail(world)
    await _change_numbers(world)
    await _share(world)
    await _seal(world)


def build_world(link: Link, metrics: Metrics) -> World:
    """Return an installation with fixed keys and randomness; wide limits last for hours."""
    world = World(link, fixed_keys(), random=fixed_random())
    wide = {limit: (Window(count=24, period=DAY),) for limit in Limit if limit.kind is Kind.GCRA}
    for name, tenant in world.tenants.items():
        world.tenants[name] = msgspec.structs.replace(tenant, rates={**DEFAULTS, **wide})
    metered = msgspec.structs.replace(
        world.parts,
        store=Metered(world.store, metrics),
        router=CountedRouter(world.phones, metrics),
        hasher=TimedHasher(world.hasher, metrics),
    )
    world.service = OtpService(metered)
    return world


def build_metrics() -> Metrics:
    """Return metrics that know the tenants and providers of the script."""
    return Metrics("1.2.3", tenants=["shop", "bank"], providers=["p1", "p2", "p3"])


async def _issue_and_verify(world: World) -> None:
    person: dict[str, Any] = {"account": ACCOUNT, "client_ip": ADDRESS}
    issued = await world.issue("+447400123456", key="issue 1", locale="en", **person)
    world.wait(31 * SECOND)
    world.phones.will_answer(REFUSED, MAYBE, TAKEN)
    await world.resend(issued, key="resend 1")
    news = Receipt(status="delivered", reference=f"shop.{world.id_of(issued)}.2.3")
    await world.service.receive(world.caller(), "p3", news, trusted=True)
    code = world.phones.code()
    with suppress(OtpError):
        await world.verify(issued, wrong(code), client_ip=ADDRESS)
    for _ in range(2):
        await world.verify(issued, code, key="verify 1", client_ip=ADDRESS)
    with suppress(OtpError):
        await world.verify(issued, code)


async def _refuse_and_cancel(world: World) -> None:
    issued = await world.issue("+447400123457", account=ACCOUNT)
    for _ in range(12):  # more than ten are folded
        with suppress(OtpError):
            await world.issue("+447400123457", client_ip=ADDRESS)
    world.wait(61 * SECOND)
    partition = world.store.partition_of("+447400123457")
    await world.store.sweep(partition, world.parts.random.operation())
    await world.service.cancel(world.caller(), world.id_of(issued))
    await world.issue("+447400123458", tenant="bank", purpose="payment")


async def _fail(world: World) -> None:
    issued = await world.issue("+447400123459", account=ACCOUNT, client_ip=ADDRESS)
    for by in range(1, 6):
        with suppress(OtpError):
            await world.verify(issued, wrong(world.phones.code(), by))
    world.phones.will_answer(REFUSED, REFUSED)
    with suppress(OtpError):
        await world.issue("+447400123460", account=ACCOUNT)


async def _change_numbers(world: World) -> None:
    operators, ids = Operators(world.store, world.keys.pseudonym), fixed_random()
    kept, freed = parse("+447400123461"), parse("+447400123462")
    for number, change, reason in (
        (kept, operators.block, "blocked"),
        (freed, operators.block, "blocked"),
        (freed, operators.unblock, "unblocked"),
    ):
        operation = world.parts.random.operation()
        await change(number, ListChanged(id=ids.operation(), reason=reason), operation)
    with suppress(OtpError):
        await world.issue(kept.e164)


async def _share(world: World) -> None:
    remembered = Remembered()
    sharing = Sharing(world.store, remembered, world.parts.random, {"config": "test"})
    failed = [
        Observation(provider="p1", country="GB", at=NOW_MS + i, kind="failed", reason="down")
        for i in range(5)
    ]
    receipt = Observation(
        provider="p2", country="GB", at=NOW_MS, kind="receipt", number="0a0b", good=0.0
    )
    remembered.learn(
        [*failed, Observation(provider="p3", country="GB", at=NOW_MS, kind="throttled"), receipt]
    )
    assert await sharing.exchange()
    remembered.learn(
        [Observation(provider="p1", country="GB", at=NOW_MS + 60 * SECOND, kind="taken")]
    )
    assert await sharing.exchange()
    submitted = Submitted(reference="shop.reference.1.1", ending="3456")
    await RedisSubmissions(world.store).note("smsc", "id-1", submitted)


async def _seal(world: World) -> None:
    """Have the log of one number's partition archived, up to its end."""
    sealing = RedisSealing(world.link, world.store.names, maximum=5_000)
    fence = await sealing.lease("holder-1", 4000, floor=6, told=msgspec.json.encode(STATUS))
    partition = world.store.partition_of("+447400123456")
    (tail,) = await sealing.tails([partition], count=1000)
    place = tail.epoch, tail.last.sequence
    await sealing.mark(fence, [Mark(tail=tail, anew=False, place=place)])
