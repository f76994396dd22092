"""Spans of OpenTelemetry. It comes with the extra `otel`, so only `app` imports this, and only where
`telemetry.traces` says where spans go: without it there is no span, no wrapper and no import.

    POST /v1/challenges          a request, by the template of its route
      store commit               a trip to Redis
      argon2                     a code is hashed, with the wait for a thread
      send                       the chain of providers
        submit                   one provider, asked once

A span tells what metrics and events may tell: words of ours, names from the settings, a provider's
code for a refusal. No id of a challenge, number, code, key or text of an exception is in one (R68).
What is no part of a request, like the sweep of each minute, leaves no span.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

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
"""Seconds for the collector: to take what it is sent, and for all that is left at the end."""

_MIN_SERVER_ERROR_STATUS: Final = 500


class TraceableProvider(Protocol):
    """A provider of SMS, as the router knows it."""

    @property
    def name(self) -> str:
        """As the settings call it."""

    async def send(self, message: Message) -> Reply:
        """Hand the message to the provider."""

    async def aclose(self) -> None:
        """Give up what this provider alone holds."""


def create_exporter(url: str, headers: dict[str, str]) -> SpanExporter:
    """Return what takes spans to a collector: OTLP over HTTP."""
    return OTLPSpanExporter(endpoint=url, headers=headers, timeout=COLLECTOR_TIMEOUT_SECONDS)


class Tracing:
    """Makes spans, and puts what makes them around the ports."""

    def __init__(self, exporter: SpanExporter, version: str, sample_percent: int) -> None:
        """Keep so many of a hundred traces; whether a caller samples his is not asked (R59)."""
        self._tracer_provider = TracerProvider(
            sampler=TraceIdRatioBased(sample_percent / 100),
            resource=Resource.create({"service.name": "otp-service", "service.version": version}),
            shutdown_on_exit=False,
        )
        self._tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._tracer_provider.get_tracer("otp_service")

    def close(self) -> None:
        """Send what is left; a collector that hangs delays no stop."""
        closing = threading.Thread(target=self._tracer_provider.shutdown, daemon=True)
        closing.start()
        closing.join(COLLECTOR_TIMEOUT_SECONDS)

    def trace_requests(self, app: Any) -> Any:
        """Put each request of an ASGI application into a span, and the trace's id into its state.

        The caller's trace is taken up from `traceparent`; one that is not valid is as good as none.
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
        """Tell the request's span what became of it, before it ends."""
        span, method = trace.get_current_span(), label_or_other(HTTP_METHODS, method)
        span.update_name(f"{method} {route_or_other(route)}")
        told = {
            "http.request.method": method,
            "http.route": route_or_other(route),
            "http.response.status_code": status,
            "otp.request": fields["request"],
            "otp.tenant": fields["tenant"],
            "otp.problem": fields["problem"],
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        if status >= _MIN_SERVER_ERROR_STATUS:
            span.set_status(StatusCode.ERROR)

    def trace_as_root(
        self, span_name: str, call: Callable[..., Awaitable[T]]
    ) -> Callable[..., Awaitable[T]]:
        """Return the call with a trace of its own, whatever the task that makes it was started by.

        What a provider's session brings belongs to no request, not even to the one that opened it.
        """

        async def call_in_span(*given: Any) -> T:
            with self.start_span(span_name, "consumer", Context()):
                return await call(*given)

        return call_in_span

    def trace_provider(self, provider: TraceableProvider) -> TraceableProvider:
        """Return the provider with a span for each submission."""
        return TracedProvider(provider, self)

    @contextmanager
    def start_span(
        self, name: str, kind: SpanKindName = "internal", context: Context | None = None
    ) -> Iterator[Span]:
        """Make a span below the one that runs, or below that of a context.

        Of an exception that passes through it the class is told, never what it says.
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
                if not isinstance(error, ChallengeNotFound):  # it is an answer
                    span.set_status(StatusCode.ERROR)
                raise


class TracedProvider:
    """A provider whose submissions are seen."""

    def __init__(self, provider: TraceableProvider, tracing: Tracing) -> None:
        self._provider = provider
        self._start_span = tracing.start_span
        self.name = provider.name
        self.aclose = provider.aclose

    async def send(self, message: Message) -> Reply:
        """Hand the message to the provider; who is silent until the deadline is cancelled."""
        with self._start_span("submit", "client") as span:
            span.set_attribute("otp.provider", self.name)
            reply = await self._provider.send(message)
            made = Submission.from_reply(self.name, reply, at=0, milliseconds=0)
            span.set_attribute("otp.outcome", made.outcome)
            if made.reason:
                span.set_attribute("otp.reason", made.reason)
            return reply


def _extract_context(scope: Any) -> Context:
    """Return the span that the caller says he is in; of its baggage and vendor state, nothing."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    carrier = {"traceparent": given[0].decode("latin-1")} if len(given) == 1 else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())
