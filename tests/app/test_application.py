"""How one process is put together, and what runs beside its requests."""

import os
import secrets
from pathlib import Path

import pytest
from msgspec.structs import replace

from otp_service.app import RANDOM, Application, now, public_door
from otp_service.core.charges import row_of
from otp_service.core.errors import NumberLocked
from otp_service.core.keys import RINGS, Key, Ring
from otp_service.core.phone_number import parse
from otp_service.core.ports import Commit
from otp_service.core.secret import Secret
from otp_service.schemas import IssueRequest
from otp_service.service import Caller
from otp_service.settings.dev import TENANT, dev_secrets, dev_settings
from otp_service.settings.model import Service, Settings
from otp_service.sms.provider_health import Observation
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.smpp.pdu import DELIVER_SM, RESPONSE
from otp_service.sms.smpp.pdu_bodies import ShortMessage
from otp_service.store.embedded import EmbeddedServer
from tests.sms.smpp.fake_smsc import PASSWORD, Centre
from tests.store import redis_servers


def settings_of(server: EmbeddedServer, folder: Path) -> Settings:
    """Return the settings of development, on this Redis emptied."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    kept = dev_secrets(folder, None, lambda: secrets.token_urlsafe(32))
    return dev_settings(Service(), server.url, kept)


async def told(app: Application) -> list[str]:
    """Return the types and reasons of all events, oldest first."""
    events, _ = await public_door(app).state.context.reader.page(limit=100)
    return [f"{event['type']} {event.get('reason', '')}".strip() for event in reversed(events)]


async def test_calls_without_a_key_become_one_event_a_reason(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R66: strangers are counted in the worker; an event for each would let them fill the log."""
    async with Application(settings_of(server, tmp_path), is_dev=True) as app:
        for reason in ("missing", "unknown", "unknown"):
            app.access.count(reason)

        await app.telling.everything()
        await app.telling.everything()

        events, _ = await public_door(app).state.context.reader.page(
            limit=100, type="access.denied"
        )
    assert {("missing", 1), ("unknown", 2)} == {(e["reason"], e["count"]) for e in events}
    assert 2 == len(events)


async def test_start_and_stop_are_events_with_the_keys_in_force(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R66: whoever stops the log is in the log."""
    settings = settings_of(server, tmp_path)
    async with Application(settings, is_dev=True):
        pass

    async with Application(settings, is_dev=True) as app:
        events = [e for e in await told(app) if not e.startswith("log.epoch")]

    assert ["started", "stopped", "started"] == [e.split()[1] for e in events]


async def test_who_speaks_for_the_workers_leaves_no_trace(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """The admin listener's part only looks."""
    settings = settings_of(server, tmp_path)

    async with Application(settings, speaks_for_workers=True):
        pass

    with redis_servers.client_of(server) as client:
        assert 0 == client.dbsize()


async def test_wrong_keys_at_the_admin_listener_are_an_event_too(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R66: whoever tries keys on the page is counted like whoever tries them on the API."""
    settings = settings_of(server, tmp_path)
    async with Application(settings, speaks_for_workers=True) as app:
        for _ in range(2):
            app.access.count("unknown")

    async with Application(settings, speaks_for_workers=True) as app:
        events, _ = await app.reader().page(limit=100, type="access.denied")
    assert [("unknown", 2)] == [(event["reason"], event["count"]) for event in events]


async def test_what_all_know_of_providers_is_in_the_metrics(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R90: where each breaker stands, and what receipts have left of a share."""
    settings = settings_of(server, tmp_path)
    async with Application(settings, speaks_for_workers=True) as app:
        failed = Observation("inbox", "GB", now(), "failed", reason="read-timeout")
        app.remembered.learn([failed] * 5)

        app.show_providers()

        page = app.metrics.render()[0].decode()
    assert 'otp_provider_state{country="GB",provider="inbox"} 2.0' in page
    assert 'otp_provider_share{provider="inbox"} 1.0' in page


async def test_places_are_counted_once_beside_workers(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """Who speaks for the workers has none: how full the gates are would look better than it is."""
    settings = settings_of(server, tmp_path)
    places = settings.hash.workers + settings.hash.queue

    for looks, expected in ((False, places), (True, 0)):
        async with Application(settings, speaks_for_workers=looks) as app:
            page = app.metrics.render()[0].decode()

        assert f'otp_places{{gate="argon2"}} {expected}.0\n' in page


def smpp_to(port: int) -> Smpp:
    """Return a provider that speaks to this centre."""
    return Smpp(host="127.0.0.1", port=port, system_id="tester", password=Secret(PASSWORD))


async def issued(app: Application, number: str) -> None:
    """Send a code."""
    caller = Caller(app.settings.tenants()["dev"], "dev", "request")
    await app.service.issue(caller, IssueRequest(number), None)


async def test_a_receipt_over_a_providers_own_connection_counts(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """SMPP calls no address: what its session brings is trusted, and noted like any other."""
    async with Centre() as centre:
        settings = replace(
            settings_of(server, tmp_path), providers={"centre": smpp_to(centre.port)}
        )
        async with Application(settings) as app:
            await issued(app, "+447400123456")

            for name in (b"other", b"7a2f"):
                told = ShortMessage(esm_class=4, text=b"id:%s stat:DELIVRD err:000" % name)
                await centre.brings(told)
            await centre.hears(DELIVER_SM | RESPONSE, 2)

            reader = public_door(app).state.context.reader
            (event,), _ = await reader.page(limit=100, type="otp.delivery")
            metrics = app.metrics.render()[0].decode()
    assert ("centre", "delivered", True) == (event["provider"], event["status"], event["trusted"])
    for status in ("delivered", "unknown"):
        assert f'otp_receipts_total{{provider="centre",status="{status}"}} 1.0' in metrics


async def test_a_receipt_is_found_by_any_worker_and_after_a_restart(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """A centre brings it over whichever session there is, and knows only its own id."""
    async with Centre() as centre:
        settings = replace(
            settings_of(server, tmp_path), providers={"centre": smpp_to(centre.port)}
        )
        async with Application(settings) as lost:
            await issued(lost, "+447400123456")
        async with Application(settings) as one, Application(settings) as other:
            for worker, number, name in ((one, 7, b"b1"), (other, 8, b"b2")):
                centre.answers(body=name + b"\0")
                await issued(worker, f"+44740012345{number}")

            for sequence, name in enumerate((b"7a2f", b"b1"), start=1):
                receipt = ShortMessage(esm_class=4, text=b"id:%s stat:DELIVRD err:000" % name)
                await centre.brings(receipt, sequence, over=1)
            await centre.hears(DELIVER_SM | RESPONSE, 2)

            reader = public_door(one).state.context.reader
            events, _ = await reader.page(limit=100, type="otp.delivery")
    assert [("delivered", True)] * 2 == [(e["status"], e["trusted"]) for e in events]
    assert 2 == len({event["challenge"] for event in events})


def test_codes_ids_and_nonces_are_of_the_systems_randomness(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R1, R6: no count of codes tells a Mersenne twister from it, so this looks."""
    app = Application(settings_of(server, tmp_path), is_dev=True)

    assert RANDOM is app.service._parts.random
    assert (secrets.randbelow, os.urandom) == (RANDOM.below, RANDOM.bytes)
    assert os.urandom is app.store.vault._random


@pytest.mark.parametrize("name", RINGS)
async def test_a_locked_number_stays_locked_whichever_key_the_service_starts_with(
    server: EmbeddedServer, tmp_path: Path, name: str
) -> None:
    """R18: as it is put together here; only the end of the limit key's rotation would unlock it."""
    settings, phone = settings_of(server, tmp_path), parse("+447400123456")
    (old,), new = getattr(settings.keys, name).keys, Key("2", os.urandom(32))
    tenant = settings.tenants()[TENANT]
    async with Application(settings, is_dev=True) as app:
        row = replace(row_of(tenant, phone), cost=100, force=True)
        partition = app.store.partition_of(phone.collapsed)
        await app.store.commit(Commit(partition=partition, operation="lock", charges=(row,)))

    steps = [(old,), (old, new), (new, old), *([] if name == "limit" else [(new,)])]
    for step in steps:
        keys = replace(settings.keys, **{name: Ring(step)})
        async with Application(replace(settings, keys=keys), is_dev=True) as app:
            with pytest.raises(NumberLocked):
                await app.service.issue(
                    Caller(tenant, "key", "request"), IssueRequest(phone.e164), None
                )
