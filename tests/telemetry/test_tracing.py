"""Traces: what a collector gets about a request, and what it never gets."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx
import pytest
from msgspec.structs import replace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otp_service.app import Application, create_admin_app, create_public_app
from otp_service.core.delivery import Fault, Receipt, RefusalScope, Refused
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import generate_secret
from otp_service.core.secret import Secret
from otp_service.settings.development import create_dev_settings, ensure_dev_secrets
from otp_service.settings.service_tables import ServiceSettings, TelemetrySettings
from otp_service.telemetry import InstrumentedHasher, InstrumentedRouter, InstrumentedStore, tracing
from otp_service.telemetry.instrumentation import NoTracer
from tests.installation import make_wrong_code
from tests.store import redis_servers
from tests.trace_collector import TraceCollector


NUMBER = "+447400123456"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = f"{NUMBER} code 483920 https://sms.example/send?api_secret=S3CR3T"


class Traced:
    """The service as `dev` runs it, with every span of it in memory."""

    def __init__(self, app, key, memory):
        self.app, self.memory = app, memory
        self.messages = []
        app.inbox.add = self.receive
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app=create_public_app(app))
        self.client = httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        )

    async def call(self, path, headers=None, **body):
        """Send a request."""
        return await self.client.post(path, json=body, headers=headers)

    async def receive(self, message, **_):
        """Store a message, as the inbox does."""
        self.messages.append(message.text)

    @property
    def code(self):
        """The newest code."""
        return re.search(r"\d{6}", self.messages[-1])[0]

    def spans(self):
        """Return every ended span, in order of their start."""
        self.app.tracing._tracer_provider.force_flush()
        return sorted(self.memory.get_finished_spans(), key=lambda span: span.start_time)

    def tree(self):
        """Return how often each name of a span occurs under the name of its parent."""
        spans = self.spans()
        names = {span.context.span_id: span.name for span in spans}
        above = {
            span.context.span_id: names.get(span.parent.span_id) if span.parent else None
            for span in spans
        }
        return Counter((above[span.context.span_id], span.name) for span in spans)


def kept(folder):
    """Return the keys of an installation."""
    return ensure_dev_secrets(folder, None, lambda: generate_secret(os.urandom))


def settings_of(server, folder, **telemetry):
    """Return settings of development, for this Redis, which is emptied."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    made = create_dev_settings(ServiceSettings(), server.url, kept(folder))
    return replace(made, telemetry=TelemetrySettings(**telemetry))


@pytest.fixture
def memory(monkeypatch):
    """An exporter in memory instead of a collector."""
    memory = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "create_exporter", lambda *_: memory)
    return memory


@pytest.fixture
async def traced(server, tmp_path, memory):
    """A service with tracing."""
    settings = settings_of(server, tmp_path, traces="http://127.0.0.1:4318/v1/traces")
    async with Application(settings) as app:
        yield Traced(app, kept(tmp_path)["api_key"], memory)


async def test_an_issue_and_a_verify_are_a_tree_each(traced):
    """The request has the calls to Redis, argon2, the send and each submission as children."""
    made = (await traced.call("/v1/challenges", phone_number=NUMBER)).json()
    answer = await traced.call(f"/v1/challenges/{made['id']}/verify", code=traced.code)

    assert 200 == answer.status_code
    issue, verify = "POST /v1/challenges", "POST /v1/challenges/{challenge_id}/verify"
    assert traced.tree() == {
        (None, issue): 1,
        (issue, "store commit"): 3,
        (issue, "argon2"): 1,
        (issue, "send"): 1,
        ("send", "submit"): 1,
        (None, verify): 1,
        (verify, "store fetch"): 1,
        (verify, "store commit"): 3,
        (verify, "argon2"): 1,
    }


async def test_a_span_has_the_outcome(traced):
    """It uses the words of metrics and events; a 503 is an error, a wrong code is not."""
    made = (await traced.call("/v1/challenges", phone_number=NUMBER)).json()
    await traced.call(f"/v1/challenges/{made['id']}/verify", code=make_wrong_code(traced.code))

    told = {span.name: dict(span.attributes) for span in traced.spans()}
    verify = told["POST /v1/challenges/{challenge_id}/verify"]
    assert len(verify.pop("otp.request")) == 32
    assert verify == {
        "http.request.method": "POST",
        "http.route": "/v1/challenges/{challenge_id}/verify",
        "http.response.status_code": 422,
        "otp.tenant": "dev",
        "otp.problem": "incorrect-code",
    }
    assert {"otp.provider": "inbox", "otp.outcome": "accepted"} == told["submit"]
    assert {"otp.outcome": "done"} == told["store commit"]
    assert {StatusCode.UNSET} == {span.status.status_code for span in traced.spans()}


async def never(_):
    """Accept a message and never answer."""
    await asyncio.sleep(60)


async def test_the_callers_trace_is_continued_in_events_and_spans(traced):
    """R59: the trace id is the caller's, whether the caller samples or not."""
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00", "tracestate": "a=b", "baggage": "c=d"}
    await traced.call("/v1/challenges", headers, phone_number=NUMBER)

    events, _ = await traced.app.create_reader().read_page(limit=100, type="otp.issued")
    spans = traced.spans()
    assert {TRACE} == {event["trace"] for event in events}
    assert {TRACE} == {f"{span.context.trace_id:032x}" for span in spans}
    assert PARENT == f"{spans[0].parent.span_id:016x}"
    assert not spans[0].context.trace_state


@pytest.mark.parametrize("traceparent", [None, "00-garbage", f"00-{'0' * 32}-{PARENT}-01"])
async def test_without_a_callers_trace_events_have_a_new_one(traced, traceparent):
    """An invalid `traceparent` is ignored (R59)."""
    headers = {"traceparent": traceparent} if traceparent else {}
    await traced.call("/v1/challenges", headers, phone_number=NUMBER)

    events, _ = await traced.app.create_reader().read_page(limit=100, type="otp.issued")
    issue = traced.spans()[0]
    assert issue.parent is None
    assert f"{issue.context.trace_id:032x}" == events[0]["trace"]


async def test_no_span_holds_a_number_a_code_or_a_key(traced, tmp_path):
    """R68: this is true for successes and for exceptions that contain them."""
    made = (await traced.call("/v1/challenges", phone_number=NUMBER, account="canary")).json()
    code = traced.code
    await traced.call(f"/v1/challenges/{made['id']}/verify", code=make_wrong_code(code))
    await traced.call(f"/v1/challenges/{made['id']}/verify?code={code}", code=code)
    await traced.call(f"/v1/{NUMBER}", phone_number=NUMBER)
    working = traced.app.store.commit_together
    traced.app.store.commit_together = raises(StoreUnavailable(CANARY), CANARY)
    await traced.call("/v1/challenges", phone_number="+447400123457")
    traced.app.store.commit_together = raises(RuntimeError(CANARY), CANARY)
    await traced.call("/v1/challenges", phone_number="+447400123457")
    traced.app.store.commit_together = working

    spans = traced.spans()
    told = "\n".join(span.to_json() for span in spans)
    failed = [span.attributes["error.type"] for span in spans if "error.type" in span.attributes]
    assert ["StoreUnavailable", "RuntimeError"] == list(dict.fromkeys(failed))
    # Those of the store, of which a call may make several, and of the two requests.
    assert len(failed) + 2 == sum(span.status.status_code is StatusCode.ERROR for span in spans)
    held = [
        *kept(tmp_path).values(),
        code,
        make_wrong_code(code),
        made["id"],
        "canary",
        "S3CR3T",
        "483920",
    ]
    assert [] == [one for one in [*held, NUMBER, NUMBER[1:], "7400123457"] if one in told]
    assert [] == [span.events for span in spans if span.events]


def raises(error, cause):
    """Return a call that fails like libraries, with secrets in the text."""

    async def call(*_):
        raise error from ValueError(cause)

    return call


async def test_a_provider_that_refuses_or_hangs_is_a_span_with_the_reason(server, tmp_path, memory):
    """The span has the provider's code, or the class of the cancellation at the deadline."""
    settings = settings_of(server, tmp_path, traces="http://127.0.0.1:4318/v1/traces")
    routing = replace(settings.routing, deadline_seconds=1, providers=("first", "second"))
    (inbox,) = settings.providers.values()
    settings = replace(settings, providers={"first": inbox, "second": inbox}, routing=routing)
    async with Application(settings) as app:
        refusing, hanging = app.providers.values()
        refusing.send = answering(Refused(Fault.PROVIDER, "no-credit", scope=RefusalScope.ACCOUNT))
        hanging.send = never
        traced = Traced(app, kept(tmp_path)["api_key"], memory)
        await traced.call("/v1/challenges", phone_number=NUMBER)

        first, second = [dict(span.attributes) for span in traced.spans() if span.name == "submit"]
    assert first == {
        "otp.provider": "first",
        "otp.outcome": "refused",
        "otp.reason": "no-credit",
    }
    assert {"otp.provider": "second", "error.type": "CancelledError"} == second


def answering(reply):
    """Return a provider's `send` with this reply."""

    async def send(_):
        return reply

    return send


async def test_a_receipt_of_a_session_belongs_to_no_request(traced):
    """A request may have started the task of the session; its receipts are separate traces."""
    received = traced.app.tracing.trace_as_root("receipt", traced.app._handle_session_receipt)
    with traced.app.tracing.start_span("POST /v1/challenges"):
        await asyncio.create_task(received("inbox", Receipt("delivered", reference="unknown")))

    receipt = next(span for span in traced.spans() if span.name == "receipt")
    assert receipt.parent is None


async def test_work_outside_of_requests_makes_no_span(traced):
    """Housekeeping and the exchange of provider health belong to no request."""
    await traced.app.system_events.flush_counted_events()
    await traced.app.provider_health_sync.sync_health()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=create_admin_app(traced.app, lambda: None))
    ) as client:
        assert 200 == (await client.get("http://localhost/metrics")).status_code

    assert [] == traced.spans()


async def test_the_configured_percentage_of_traces_is_kept(server, tmp_path, memory):
    """The caller's sampling flag is ignored: the id decides whether a whole trace is kept."""
    where = {"traces": "http://127.0.0.1:4318/v1/traces", "sample_percent": 1}
    async with Application(settings_of(server, tmp_path, **where)) as app:
        traced = Traced(app, kept(tmp_path)["api_key"], memory)
        for trace in ("f" * 32, "0" * 31 + "1"):
            parent = {"traceparent": f"00-{trace}-{PARENT}-01"}
            assert 200 == (await traced.client.get("/health/live", headers=parent)).status_code

        (only,) = traced.spans()
    assert 1 == only.context.trace_id


# ------------------------------------------------------------------------------------ disabled


async def test_without_an_address_the_ports_make_no_span(server, tmp_path):
    """Tracing is off until the settings name a collector."""
    async with Application(settings_of(server, tmp_path)) as app:
        parts = app._create_dependencies()

    assert app.tracing is None
    assert (InstrumentedStore, InstrumentedRouter, InstrumentedHasher) == (
        type(parts.store),
        type(parts.router),
        type(parts.hasher),
    )
    starts = {one._start_span.__func__ for one in (parts.store, parts.router, parts.hasher)}
    assert {NoTracer.start_span} == starts


def test_the_service_runs_where_opentelemetry_is_not_installed(tmp_path):
    """It is an extra, and redis-py only tests whether it is installed."""
    script = f"""
import pathlib, sys
sys.modules["opentelemetry"] = None
from otp_service.app import Application, create_public_app
from otp_service.settings.development import create_dev_settings, ensure_dev_secrets
from otp_service.settings.service_tables import ServiceSettings
import otp_service.cli.serve, otp_service.cli.dev
made = ensure_dev_secrets(pathlib.Path({str(tmp_path)!r}), None, lambda: "A" * 43)
create_public_app(Application(create_dev_settings(ServiceSettings(), "redis://127.0.0.1:1/0", made)))
print("made")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert (0, b"made") == (run.returncode, run.stdout.strip()), run.stderr.decode()


# ----------------------------------------------------------------------------------- collector


async def test_a_collector_gets_all_spans_before_the_service_stops(server, tmp_path):
    """They are sent by OTLP over HTTP, with the configured headers, service name and version."""
    with TraceCollector() as collector:
        headers = {"Authorization": Secret("Bearer worthless")}
        settings = settings_of(server, tmp_path, traces=collector.url, secret_headers=headers)
        async with Application(settings) as app:
            traced = Traced(app, kept(tmp_path)["api_key"], None)
            await traced.call("/v1/challenges", phone_number=NUMBER)

    resources = ExportTraceServiceRequest.FromString(collector.bodies).resource_spans
    about = {one.key: one.value.string_value for one in resources[0].resource.attributes}
    scopes = [scope for resource in resources for scope in resource.scope_spans]
    names = [span.name for scope in scopes for span in scope.spans]
    assert {("/v1/traces", "Bearer worthless")} == {
        (path, headers["authorization"]) for path, headers, _ in collector.calls
    }
    assert "otp-service" == about["service.name"]
    assert "POST /v1/challenges" in names
    assert NUMBER[1:].encode() not in collector.bodies


async def test_a_collector_that_hangs_delays_neither_a_request_nor_the_stop(
    server, tmp_path, monkeypatch
):
    """Spans are lost, and logins are not: R77 is about Redis."""
    monkeypatch.setattr(tracing, "COLLECTOR_TIMEOUT_SECONDS", 0.2)
    with TraceCollector() as collector:
        collector.is_hanging = True
        async with Application(settings_of(server, tmp_path, traces=collector.url)) as app:
            traced = Traced(app, kept(tmp_path)["api_key"], None)
            made = await traced.call("/v1/challenges", phone_number=NUMBER)

    assert 201 == made.status_code
    assert [] == collector.calls


def test_the_stop_waits_for_the_timeout_only(monkeypatch):
    """The library would wait 30 s for a slow collector."""
    monkeypatch.setattr(tracing, "COLLECTOR_TIMEOUT_SECONDS", 0.1)
    released, began = threading.Event(), time.monotonic()
    exporter = InMemorySpanExporter()
    exporter.export = lambda _: released.wait()
    made = tracing.Tracing(exporter, "1", 100)
    with made.start_span("any"):
        pass

    made.close()

    assert 20 > time.monotonic() - began
    released.set()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_spans_go_to_the_collector_and_through_no_proxy(monkeypatch, tmp_path, variable):
    """A proxy or a netrc of the environment would read or replace the secret headers (R63)."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with TraceCollector() as collector, TraceCollector() as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.server_port}")
        exporter = tracing.create_exporter(collector.url, {"authorization": "Bearer hunter2"})
        spans = tracing.Tracing(exporter, "1", 100)
        with spans.start_span("request"):
            pass
        spans.close()

    assert [] == proxy.calls
    ((_, headers, _),) = collector.calls
    assert "Bearer hunter2" == headers["authorization"]
