"""Messages from phones in a whole process: they finish, are counted, and their text is nowhere."""

import asyncio
import logging
import os
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otp_service.app import Application, create_public_app
from otp_service.core.errors import NumberNotAllowed, StoreUnavailable
from otp_service.core.events import DoNotSendListExported
from otp_service.core.inbound import InboundMessage
from otp_service.core.keys import generate_secret
from otp_service.schemas import IssueRequest
from otp_service.service import Caller
from otp_service.settings.development import DEV_TENANT, create_dev_settings, ensure_dev_secrets
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import ServiceSettings, TelemetrySettings
from otp_service.store.embedded import EmbeddedServer
from otp_service.telemetry import tracing
from tests.store import redis_servers


NUMBER, OWN_NUMBER = "+447400123456", "+447400999001"
CODE, SECRET_TEXT = "471093471093", "worthless text of a person"
KEYWORD_TEXTS = ("« sToP »", "« sTaRt »", "« hElP »")
CALLER = Caller.without_tenant("callback-inbox", "request-1")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Return an exporter in memory instead of a collector."""
    memory = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "create_exporter", lambda *_: memory)
    return memory


@pytest.fixture
def settings(server: EmbeddedServer, tmp_path: Path, memory: InMemorySpanExporter) -> Settings:
    """Return the settings of development with tracing, on this Redis emptied."""
    del memory
    with redis_servers.open_client(server) as client:
        client.flushall()
    kept = ensure_dev_secrets(tmp_path, None, lambda: generate_secret(os.urandom))
    telemetry = TelemetrySettings(traces="http://127.0.0.1:4318/v1/traces")
    return replace(create_dev_settings(ServiceSettings(), server.url, kept), telemetry=telemetry)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Application]:
    async with Application(settings) as app:
        yield app


async def issue_code(app: Application, number: str = NUMBER) -> None:
    caller = Caller(app.settings.build_tenants()[DEV_TENANT], DEV_TENANT, "request-2")
    await app.service.issue(caller, IssueRequest(number), None)


async def answer(app: Application, text: str, sender: str = NUMBER) -> None:
    """Let a person answer through the inbox."""
    await app.handle_inbound(CALLER, "inbox", InboundMessage(sender, text, OWN_NUMBER))


async def read_events(app: Application) -> list[dict[str, object]]:
    events, _ = await create_public_app(app).state.context.reader.read_page(limit=100)
    return list(reversed(events))


async def find_refusal(app: Application) -> str | None:
    try:
        await issue_code(app)
    except NumberNotAllowed as refusal:
        return refusal.reason_code
    return None


def list_inbound_samples(app: Application) -> list[str]:
    page = app.metrics.render_metrics()[0].decode()
    return sorted(line for line in page.splitlines() if line.startswith("otp_inbound_messages_"))


async def test_each_message_is_counted_by_what_came_of_it(app: Application) -> None:
    """The metric has the provider and the result; what may be forged is one event a minute."""
    await issue_code(app)
    for text in ("STOP", "STOP", "START", "HELP", CODE):
        await answer(app, text)
    for sender in ("+447400123457", "+447400123458", "12345"):
        await answer(app, "STOP", sender=sender)
    await app.system_events.flush_counted_events()

    shown = 'otp_inbound_messages_total{{provider="inbox",result="{}"}} {}'
    counts = {"opted_out": 1, "unchanged": 1, "opted_in": 1, "help": 1, "other": 1}
    counts |= {"unexpected": 2, "invalid_sender": 1}
    assert sorted(shown.format(name, float(count)) for name, count in counts.items()) == (
        list_inbound_samples(app)
    )
    rejected = [
        (event["provider"], event["reason"], event["count"])
        for event in await read_events(app)
        if event["type"] == "callback.rejected"
    ]
    assert [("inbox", "invalid_sender", 1), ("inbox", "unexpected", 2)] == sorted(rejected)


async def test_a_message_finishes_although_its_request_was_canceled(app: Application) -> None:
    """A vendor that does not wait for the answer must not leave a STOP without effect."""
    await issue_code(app)
    request = asyncio.create_task(answer(app, "STOP"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert 1 == len(app.background_calls)  # the message waits for Redis

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    left = await app.background_calls.drain(5)

    assert 0 == left
    assert "opted_out" == await find_refusal(app)


async def test_a_message_of_a_session_is_handled_and_raises_while_redis_is_down(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session answers its SMSC with an error, and the SMSC brings the message again."""
    await issue_code(app)
    message = InboundMessage(NUMBER[1:], "Stop", OWN_NUMBER, is_signed=True)
    with monkeypatch.context() as patch:
        patch.setattr(app.store, "read_values", fail_as_redis)
        with pytest.raises(StoreUnavailable):
            await app._handle_session_inbound("inbox", message)

    await app._handle_session_inbound("inbox", message)

    (event,) = [e for e in await read_events(app) if e["type"] == "number.opted_out"]
    assert ("session-inbox", "inbox", "stop") == tuple(
        event[name] for name in ("key_id", "provider", "keyword")
    )


async def fail_as_redis(*_: object) -> None:
    raise StoreUnavailable(cause="connection refused", kind="ConnectionError")


async def fail_by_a_bug(*_: object) -> None:
    raise ValueError


@pytest.mark.parametrize("failure", [None, fail_as_redis, fail_by_a_bug])
async def test_the_text_of_a_message_is_in_nothing_that_is_stored_or_shown(
    app: Application,
    memory: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    failure: object,
) -> None:
    """Of every result, also if Redis fails or the request is canceled: the text may hold a code.

    No log line, event, metric and exception has the number of the phone in the clear, either.
    """
    caplog.set_level(logging.DEBUG)
    await issue_code(app)
    with monkeypatch.context() as patch:
        if failure:
            patch.setattr(app.store, "read_values", failure)
        errors = await answer_in_every_way(app)

    places = {
        "Redis": await dump_redis(app),
        "spans": list_spans(app, memory),
        "events": repr(await read_events(app)),
        "metrics": app.metrics.render_metrics()[0].decode(),
        "log": caplog.text,
        "exceptions": "".join(errors),
    }
    assert bool(failure) == bool(errors)
    for name, content in places.items():
        for canary in (SECRET_TEXT, CODE, *KEYWORD_TEXTS):
            assert canary not in content, (name, canary)
        assert name in {"Redis", "spans"} or NUMBER not in content, name
    assert [True, True] == ["submitted" in places["Redis"], "number.exported" in places["events"]]


async def answer_in_every_way(app: Application) -> list[str]:
    """Send messages with every result, and one whose request is canceled; return what was raised."""
    assert app.tracing
    errors = []
    handle = app.tracing.trace_as_root("inbound", app._handle_session_inbound)
    for index, text in enumerate((f"{SECRET_TEXT} {CODE}", *KEYWORD_TEXTS)):
        for sender in (NUMBER, "12345", "+447400123457"):
            message = InboundMessage(sender, text, OWN_NUMBER, f"{index} {sender}")
            try:
                await handle("inbox", message)
            except (StoreUnavailable, ValueError) as error:
                errors += traceback.format_exception(error)
    request = asyncio.create_task(
        app._handle_session_inbound("inbox", InboundMessage(NUMBER, KEYWORD_TEXTS[0]))
    )
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await app.background_calls.drain(5)
    await app.system_events.record_transfer(DoNotSendListExported, count=1)
    return errors


async def dump_redis(app: Application) -> str:
    """Return every key with its value, uncompressed."""
    (master,) = await app.script_client.list_masters()
    await app.script_client.read_from(master, "CONFIG", "SET", "rdbcompression", "no")
    keys = await app.script_client.read_from(master, "KEYS", "*")
    return repr([(key, await app.script_client.read_from(master, "DUMP", key)) for key in keys])


def list_spans(app: Application, memory: InMemorySpanExporter) -> str:
    assert app.tracing
    app.tracing._tracer_provider.force_flush()
    spans = memory.get_finished_spans()
    assert "inbound" in {span.name for span in spans}
    return "".join(span.to_json() for span in spans)
