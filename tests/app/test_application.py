"""How one process is composed, and its background tasks."""

import logging
import os
import re
import secrets
from itertools import product
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from otp_service.app import (
    RANDOM_SOURCE,
    Application,
    create_public_app,
)
from otp_service.clock import now_ms
from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.commit import Commit
from otp_service.core.errors import NumberLocked, NumberNotAllowed
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import KEY_RING_NAMES, Key, KeyRing, generate_secret
from otp_service.core.phone_number import parse_number
from otp_service.core.secret import Secret
from otp_service.schemas import IssueRequest
from otp_service.service import Caller
from otp_service.settings.development import DEV_TENANT, create_dev_settings, ensure_dev_secrets
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import ServiceSettings, TestSettings
from otp_service.sms.provider_health import HealthEvent
from otp_service.sms.providers import Provider
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.smpp.pdu import DELIVER_SM, RESPONSE_BIT
from otp_service.sms.smpp.pdu_bodies import ShortMessage
from otp_service.store.embedded import EmbeddedServer
from tests.processes import GatewayServer
from tests.sms.smpp.fake_smsc import PASSWORD, FakeSmsc
from tests.store import redis_servers


def settings_of(server: EmbeddedServer, folder: Path) -> Settings:
    """Return the settings of development, on this Redis emptied."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    kept = ensure_dev_secrets(folder, None, lambda: generate_secret(os.urandom))
    return create_dev_settings(ServiceSettings(), server.url, kept)


async def told(app: Application) -> list[str]:
    """Return the types and reasons of all events, oldest first."""
    events, _ = await create_public_app(app).state.context.reader.read_page(limit=100)
    return [f"{event['type']} {event.get('reason', '')}".strip() for event in reversed(events)]


async def test_a_worker_names_its_argon2_engine_in_its_log_and_metrics(
    server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor's process computes no hash, so it measures none."""
    caplog.set_level(logging.INFO)
    settings = settings_of(server, tmp_path)
    lines = []
    for is_supervisor in (False, True):
        application = Application(settings, is_supervisor=is_supervisor)
        page = application.metrics.render_metrics()[0].decode()
        lines += re.findall(r"^otp_argon2_hash_seconds.*$", page, re.MULTILINE)
        await application.stop()

    (metric,), (line,) = lines, [text for text in caplog.messages if text.startswith("argon2 by")]
    found = re.fullmatch(r"argon2 by (\S+): (\S+) ms of CPU a hash", line)
    assert found
    engine, milliseconds = found.groups()
    assert engine in {"argon2-cffi", "libsodium"}
    name, seconds = metric.split()
    assert f'otp_argon2_hash_seconds{{engine="{engine}"}}' == name
    assert float(milliseconds) == pytest.approx(1000 * float(seconds), abs=0.06)


async def test_calls_without_a_key_become_one_event_a_reason(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R66: refused calls are counted in the worker; an event for each would fill the log."""
    async with Application(settings_of(server, tmp_path)) as app:
        for reason in ("missing", "unknown", "unknown"):
            app.access_counter.count_call(reason)

        await app.system_events.flush_counted_events()
        await app.system_events.flush_counted_events()

        events, _ = await create_public_app(app).state.context.reader.read_page(
            limit=100, type="access.denied"
        )
    assert {("missing", 1), ("unknown", 2)} == {(e["reason"], e["count"]) for e in events}
    assert 2 == len(events)


async def test_start_and_stop_are_events_with_the_keys_in_force(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R66: the log records when it was stopped."""
    settings = settings_of(server, tmp_path)
    async with Application(settings):
        pass

    async with Application(settings) as app:
        events = [e for e in await told(app) if not e.startswith("log.epoch")]

    assert ["started", "stopped", "started"] == [e.split()[1] for e in events]


@pytest.mark.parametrize("number", ["+447700900991", "+447700900994", "+19895550192"])
async def test_without_the_inbox_no_number_has_an_outcome(
    server: EmbeddedServer, tmp_path: Path, number: str
) -> None:
    """A gateway decides by itself what it does with these numbers."""
    with GatewayServer() as gateway:
        fields = {"to": "{to}", "text": "{text}"}
        kind = {"type": "http", "url": gateway.url, "message_id": "id", "fields": fields}
        provider = msgspec.convert(kind, Provider)
        settings = replace(settings_of(server, tmp_path), providers={"gateway": provider})
        async with Application(settings) as app:
            caller = Caller(settings.build_tenants()[DEV_TENANT], "key", "request")
            snapshot = await app.service.issue(caller, IssueRequest(number), None)

        assert snapshot.challenge
        assert "accepted" == snapshot.challenge.submissions[0].outcome
        assert 1 == len(gateway.list_texts_to(number))


async def test_a_live_service_has_no_fixed_code(server: EmbeddedServer, tmp_path: Path) -> None:
    """R38, A25: whatever table its rules had let through, every code is drawn."""
    real, fictitious, code = "+447400123456", "+447700900555", "123456"
    with GatewayServer() as gateway:
        provider = {"type": "http", "url": gateway.url, "fields": {"to": "{to}", "text": "{text}"}}
        settings = settings_of(server, tmp_path)
        live = replace(
            settings,
            mode="live",
            providers={"gateway": msgspec.convert(provider, Provider)},
            test=TestSettings(fixed_codes=FixedCodes({real: code, fictitious: code})),
        )
        async with Application(live) as app:
            caller = Caller(live.build_tenants()[DEV_TENANT], "key", "request")
            with pytest.raises(NumberNotAllowed):
                await app.service.issue(caller, IssueRequest(fictitious), None)
            await app.service.issue(caller, IssueRequest(real), None)

        assert code != gateway.find_code(real)
        assert not live.effective_fixed_codes


async def test_who_speaks_for_the_workers_leaves_no_trace(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """The supervisor's application, which serves the admin listener, writes nothing to Redis."""
    settings = settings_of(server, tmp_path)

    async with Application(settings, is_supervisor=True):
        pass

    with redis_servers.open_client(server) as client:
        assert 0 == client.dbsize()


async def test_wrong_keys_at_the_admin_listener_are_an_event_too(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R66: wrong keys on the audit page are counted like wrong keys on the API."""
    settings = settings_of(server, tmp_path)
    async with Application(settings, is_supervisor=True) as app:
        for _ in range(2):
            app.access_counter.count_call("unknown")

    async with Application(settings, is_supervisor=True) as app:
        events, _ = await app.create_reader().read_page(limit=100, type="access.denied")
    assert [("unknown", 2)] == [(event["reason"], event["count"]) for event in events]


async def test_what_all_know_of_providers_is_in_the_metrics(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R90: the state of each breaker, and the traffic share that receipts leave to a provider."""
    settings = settings_of(server, tmp_path)
    async with Application(settings, is_supervisor=True) as app:
        failed = HealthEvent("inbox", "GB", now_ms(), "failed", reason="read-timeout")
        app.provider_health.record_events([failed] * 5)

        app.update_provider_metrics()

        page = app.metrics.render_metrics()[0].decode()
    assert 'otp_provider_state{country="GB",provider="inbox"} 2.0' in page
    assert 'otp_provider_share{provider="inbox"} 1.0' in page


async def test_places_are_counted_once_beside_workers(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """The supervisor has no slots: counting it would make the load look lower than it is."""
    settings = settings_of(server, tmp_path)
    for is_supervisor in (False, True):
        async with Application(settings, is_supervisor=is_supervisor) as app:
            page = app.metrics.render_metrics()[0].decode()

        for gate in ("argon2", "argon2_verify", "sends"):
            slots = re.search(rf'otp_admission_slots{{gate="{gate}"}} (\S+)\n', page)
            assert slots
            assert is_supervisor == (float(slots[1]) == 0)


async def test_every_authenticator_key_has_its_count(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """An old key that no token is sealed under any longer is seen as a zero, and not as nothing."""
    settings = settings_of(server, tmp_path)
    ring = KeyRing((Key("new", os.urandom(32)), *settings.keys.authenticator))
    settings = replace(settings, keys=replace(settings.keys, authenticator=ring))
    async with Application(settings) as app:
        page = app.metrics.render_metrics()[0].decode()

    for factor, key in product(("authenticator", "recovery"), ("new", "dev")):
        assert f'otp_token_attempts_total{{factor="{factor}",key="{key}"}} 0.0\n' in page


def smpp_to(port: int) -> Smpp:
    """Return a provider that connects to this SMSC."""
    return Smpp(host="127.0.0.1", port=port, system_id="tester", password=Secret(PASSWORD))


async def issued(app: Application, number: str) -> None:
    """Send a code."""
    caller = Caller(app.settings.build_tenants()["dev"], "dev", "request")
    await app.service.issue(caller, IssueRequest(number), None)


async def test_a_receipt_over_a_providers_own_connection_counts(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """SMPP has no callback URL: receipts of its session are trusted, and recorded like others."""
    async with FakeSmsc() as centre:
        settings = replace(
            settings_of(server, tmp_path),
            mode="live",
            providers={"centre": smpp_to(centre.port)},
        )
        async with Application(settings) as app:
            await issued(app, "+447400123456")

            for name in (b"other", b"7a2f"):
                told = ShortMessage(esm_class=4, text=b"id:%s stat:DELIVRD err:000" % name)
                await centre.deliver_message(told)
            await centre.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, 2)

            reader = create_public_app(app).state.context.reader
            (event,), _ = await reader.read_page(limit=100, type="otp.delivery")
            metrics = app.metrics.render_metrics()[0].decode()
    assert ("centre", "delivered", True) == (event["provider"], event["status"], event["trusted"])
    for status in ("delivered", "unknown"):
        assert f'otp_receipts_total{{provider="centre",status="{status}"}} 1.0' in metrics


async def test_a_receipt_of_an_expired_message_is_counted_and_logged(
    server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It changes nothing, and an operator sees that receipts come too late (R64)."""
    caplog.set_level(logging.INFO)
    async with FakeSmsc() as centre:
        settings = replace(
            settings_of(server, tmp_path),
            mode="live",
            providers={"centre": smpp_to(centre.port)},
        )
        async with Application(settings) as app:
            await issued(app, "+447400123456")
            with redis_servers.open_client(server) as client:
                client.delete(*client.scan_iter("*:challenge:*"))

            told = ShortMessage(esm_class=4, text=b"id:7a2f stat:DELIVRD err:000")
            await centre.deliver_message(told)
            await centre.wait_for_pdus(DELIVER_SM | RESPONSE_BIT)
            metrics = app.metrics.render_metrics()[0].decode()
    assert 'otp_receipts_total{provider="centre",status="unknown"} 1.0' in metrics
    assert "provider centre: a receipt of a message that is no longer stored" in caplog.text
    assert "of an unknown message" not in caplog.text
    assert "447400123456" not in caplog.text


async def test_a_receipt_is_found_by_any_worker_and_after_a_restart(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """An SMSC sends it over any open session, and knows only its own id."""
    async with FakeSmsc() as centre:
        settings = replace(
            settings_of(server, tmp_path),
            mode="live",
            providers={"centre": smpp_to(centre.port)},
        )
        async with Application(settings) as lost:
            await issued(lost, "+447400123456")
        async with Application(settings) as one, Application(settings) as other:
            for worker, number, name in ((one, 7, b"b1"), (other, 8, b"b2")):
                centre.set_submit_reply(body=name + b"\0")
                await issued(worker, f"+44740012345{number}")

            for sequence, name in enumerate((b"7a2f", b"b1"), start=1):
                receipt = ShortMessage(esm_class=4, text=b"id:%s stat:DELIVRD err:000" % name)
                await centre.deliver_message(receipt, sequence, connection_index=1)
            await centre.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, 2)

            reader = create_public_app(one).state.context.reader
            events, _ = await reader.read_page(limit=100, type="otp.delivery")
    assert [("delivered", True)] * 2 == [(e["status"], e["trusted"]) for e in events]
    assert 2 == len({event["challenge"] for event in events})


def test_codes_ids_and_nonces_are_of_the_systems_randomness(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """R1, R6: no count of codes detects a Mersenne twister, so the functions are compared."""
    app = Application(settings_of(server, tmp_path))

    assert RANDOM_SOURCE is app.service._dependencies.random
    assert (secrets.randbelow, os.urandom) == (RANDOM_SOURCE.randbelow, RANDOM_SOURCE.token_bytes)
    assert os.urandom is app.store.cipher._random


@pytest.mark.parametrize("name", KEY_RING_NAMES)
async def test_a_locked_number_stays_locked_whichever_key_the_service_starts_with(
    server: EmbeddedServer, tmp_path: Path, name: str
) -> None:
    """R18: composed as in production; only the end of the limit key's rotation would unlock it."""
    settings, phone = settings_of(server, tmp_path), parse_number("+447400123456")
    (old,), new = getattr(settings.keys, name).keys, Key("2", os.urandom(32))
    tenant = settings.build_tenants()[DEV_TENANT]
    async with Application(settings) as app:
        row = replace(build_consecutive_failure_charge(tenant, phone), cost=100, force=True)
        partition = app.store.get_number_partition(phone.canonical)
        await app.store.commit(Commit(partition=partition, operation_id="lock", charges=(row,)))

    steps = [(old,), (old, new), (new, old), *([] if name == "limit" else [(new,)])]
    for step in steps:
        keys = replace(settings.keys, **{name: KeyRing(step)})
        async with Application(replace(settings, keys=keys)) as app:
            with pytest.raises(NumberLocked):
                await app.service.issue(
                    Caller(tenant, "key", "request"), IssueRequest(phone.e164), None
                )
