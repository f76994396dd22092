"""Spans of OpenTelemetry, which comes with the extra `otel`.

Only `app` imports this module, and only if `telemetry.traces` names a collector.

    POST /v1/challenges          a request, by the template of its route
      store commit               a trip to Redis
      argon2                     hashing of a code, with the wait for a thread
      send                       the chain of providers
        submit                   one submission to one provider

A span contains only what metrics and events may contain: fixed words, names from the settings, a
provider's code for a refusal. It contains no challenge id, number, code, key or text of an exception
(R68). Work outside of requests, like the housekeeping of each minute, makes no span.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otp_service.core.delivery import Message, Reply, Submission
from otp_service.core.errors import ChallengeNotFound
from otp_service.telemetry.instrumentation import SpanKindName
from otp_service.telemetry.labels import HTTP_METHODS, label_or_other, route_or_other


T = TypeVar("T")

COLLECTOR_TIMEOUT_SECONDS: Final = 3.0
"""Seconds for the collector to accept a batch, and for all remaining spans when the service stops."""

_MIN_SERVER_ERROR_STATUS: Final = 500


class TraceableProvider(Protocol):
    """What the router uses of a provider."""

    @property
    def name(self) -> str: ...
    async def send(self, message: Message) -> Reply: ...
    async def aclose(self) -> None: ...


def create_exporter(url: str, headers: dict[str, str]) -> SpanExporter:
    """Return an exporter to a collector, by OTLP over HTTP.

    Its session takes no proxy and no password from the environment, and follows no redirect: another
    server would get the secret headers (R63).
    """
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    return OTLPSpanExporter(
        endpoint=url, headers=headers, timeout=COLLECTOR_TIMEOUT_SECONDS, session=session
    )


class Tracing:
    """Makes spans: for requests, for providers, and as the `Tracer` of instrumented ports."""

    def __init__(self, exporter: SpanExporter, version: str, sample_percent: int) -> None:
        """Keep this percentage of the traces, whatever a caller's sampling flag says (R59)."""
        self._tracer_provider = TracerProvider(
            sampler=TraceIdRatioBased(sample_percent / 100),
            resource=Resource.create({"service.name": "otp-service", "service.version": version}),
            shutdown_on_exit=False,
        )
        self._tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._tracer_provider.get_tracer("otp_service")

    def close(self) -> None:
        """Send the remaining spans; give up after COLLECTOR_TIMEOUT_SECONDS."""
        thread = threading.Thread(target=self._tracer_provider.shutdown, daemon=True)
        thread.start()
        thread.join(COLLECTOR_TIMEOUT_SECONDS)

    def trace_requests(self, app: Any) -> Any:
        """Return the ASGI application with a span for each request, and the trace's id in its state.

        The span continues the caller's trace from `traceparent`; an invalid one is ignored.
        """

        async def call_in_span(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with self.start_span("request", "server", _extract_context(scope)) as span:
                scope["state"]["trace"] = trace.format_trace_id(span.get_span_context().trace_id)
                await app(scope, receive, send)

        return call_in_span

    @staticmethod
    def record_response(method: str, route: str, status: int, **fields: Any) -> None:
        """Set the attributes of the request's span before it ends."""
        span, method = trace.get_current_span(), label_or_other(HTTP_METHODS, method)
        span.update_name(f"{method} {route_or_other(route)}")
        attributes = {
            "http.request.method": method,
            "http.route": route_or_other(route),
            "http.response.status_code": status,
            "otp.request": fields["request"],
            "otp.tenant": fields["tenant"],
            "otp.problem": fields["problem"],
        }
        span.set_attributes(
            {name: value for name, value in attributes.items() if value is not None}
        )
        if status >= _MIN_SERVER_ERROR_STATUS:
            span.set_status(StatusCode.ERROR)

    def trace_as_root(
        self, span_name: str, call: Callable[..., Awaitable[T]]
    ) -> Callable[..., Awaitable[T]]:
        """Return the call with a trace of its own, whichever request has started the task.

        A receipt from a provider's session belongs to no request, nor to the one that opened it.
        """

        async def call_in_span(*args: Any) -> T:
            with self.start_span(span_name, "consumer", Context()):
                return await call(*args)

        return call_in_span

    def trace_provider(self, provider: TraceableProvider) -> TraceableProvider:
        return TracedProvider(provider, self)

    @contextmanager
    def start_span(
        self, name: str, kind: SpanKindName = "internal", context: Context | None = None
    ) -> Iterator[Span]:
        """Start a span as a child of the current one, or of the one in `context`.

        The class of an exception that passes through it is recorded, never its text.
        """
        with self._tracer.start_as_current_span(
            name,
            context,
            SpanKind[kind.upper()],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                if not isinstance(error, ChallengeNotFound):  # an answer, not a failure
                    span.set_status(StatusCode.ERROR)
                raise


class TracedProvider:
    """A provider with a span for each submission."""

    def __init__(self, provider: TraceableProvider, tracing: Tracing) -> None:
        self._provider = provider
        self._start_span = tracing.start_span
        self.name = provider.name
        self.aclose = provider.aclose

    async def send(self, message: Message) -> Reply:
        """Submit the message; at the deadline the router cancels this call."""
        with self._start_span("submit", "client") as span:
            span.set_attribute("otp.provider", self.name)
            reply = await self._provider.send(message)
            submission = Submission.from_reply(self.name, reply, at=0, milliseconds=0)
            span.set_attribute("otp.outcome", submission.outcome)
            if submission.reason:
                span.set_attribute("otp.reason", submission.reason)
            return reply


def _extract_context(scope: Any) -> Context:
    """Return the context with the caller's span, without its baggage and vendor state."""
    values = [value for name, value in scope["headers"] if name == b"traceparent"]
    carrier = {"traceparent": values[0].decode("latin-1")} if len(values) == 1 else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())
