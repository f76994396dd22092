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
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
from otp_service.core.limits import Refusal
from otp_service.core.ports import Blocked, Commit, Done, Hasher, Replayed, Router, Store, Stored
from otp_service.telemetry.labels import METHODS, among, template


T = TypeVar("T")

PATIENCE: Final = 3.0
"""Seconds for the collector: to take what it is sent, and for all that is left at the end."""

_SERVER_FAULT: Final = 500
_OUTCOMES: Final = {Done: "done", Blocked: "blocked", Refusal: "refused", Stored: "moved"}


class Provider(Protocol):
    """A provider of SMS, as the router knows it."""

    @property
    def name(self) -> str:
        """As the settings call it."""

    async def send(self, message: Message) -> Reply:
        """Hand the message to the provider."""

    async def aclose(self) -> None:
        """Give up what this provider alone holds."""


def collector(url: str, headers: dict[str, str]) -> SpanExporter:
    """Return what takes spans to a collector: OTLP over HTTP."""
    return OTLPSpanExporter(endpoint=url, headers=headers, timeout=PATIENCE)


class Tracing:
    """Makes spans, and puts what makes them around the ports."""

    def __init__(self, exporter: SpanExporter, version: str, percent: int) -> None:
        """Keep so many of a hundred traces; whether a caller samples his is not asked (R59)."""
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(percent / 100),
            resource=Resource.create({"service.name": "otp-service", "service.version": version}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("otp_service")

    def close(self) -> None:
        """Send what is left; a collector that hangs delays no stop."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(PATIENCE)

    def door(self, app: Any) -> Any:
        """Put each request of an ASGI application into a span, and the trace's id into its state.

        The caller's trace is taken up from `traceparent`; one that is not valid is as good as none.
        """

        async def traced(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with self.span("request", SpanKind.SERVER, _caller(scope)) as span:
                scope["state"]["trace"] = trace.format_trace_id(span.get_span_context().trace_id)
                await app(scope, receive, send)

        return traced

    @staticmethod
    def answered(method: str, route: str, status: int, **more: Any) -> None:
        """Tell the request's span what became of it, before it ends."""
        span, method = trace.get_current_span(), among(METHODS, method)
        span.update_name(f"{method} {template(route)}")
        told = {
            "http.request.method": method,
            "http.route": template(route),
            "http.response.status_code": status,
            "otp.request": more["request"],
            "otp.tenant": more["tenant"],
            "otp.problem": more["problem"],
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        if status >= _SERVER_FAULT:
            span.set_status(StatusCode.ERROR)

    def apart(self, name: str, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """Return the call with a trace of its own, whatever the task that makes it was started by.

        What a provider's session brings belongs to no request, not even to the one that opened it.
        """

        async def traced(*given: Any) -> T:
            with self.span(name, SpanKind.CONSUMER, Context()):
                return await call(*given)

        return traced

    def store(self, store: Store) -> Store:
        """Return the store with a span for each trip."""
        return TracedStore(store, self)

    def hasher(self, hasher: Hasher) -> Hasher:
        """Return the hasher with a span for each run."""
        return TracedHasher(hasher, self)

    def router(self, router: Router) -> Router:
        """Return the chain with a span for each send."""
        return TracedRouter(router, self)

    def provider(self, provider: Provider) -> Provider:
        """Return the provider with a span for each submission."""
        return TracedProvider(provider, self)

    @contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, context: Context | None = None
    ) -> Iterator[Span]:
        """Make a span below the one that runs, or below that of a context.

        Of an exception that passes through it the class is told, never what it says.
        """
        with self._tracer.start_as_current_span(
            name, context, kind, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                if not isinstance(error, ChallengeNotFound):  # it is an answer
                    span.set_status(StatusCode.ERROR)
                raise


class TracedStore:
    """Implements `core.ports.Store`."""

    def __init__(self, store: Store, tracing: Tracing) -> None:
        self._store = store
        self._span = tracing.span
        self.partition_of = store.partition_of
        self.partition_of_bucket = store.partition_of_bucket

    async def fetch(self, tenant: str, challenge_id: str) -> Stored:
        """Read a challenge."""
        with self._span("store fetch", SpanKind.CLIENT):
            return await self._store.fetch(tenant, challenge_id)

    async def commit(self, commit: Commit) -> Done | Blocked | Refusal | Stored:
        """Decide."""
        with self._span("store commit", SpanKind.CLIENT) as span:
            outcome = await self._store.commit(commit)
            span.set_attribute("otp.outcome", _OUTCOMES[type(outcome)])
            return outcome

    async def commit_all(
        self, commits: Sequence[Commit]
    ) -> list[Done | Blocked | Refusal | Stored]:
        """Decide each by itself, all at once."""
        with self._span("store commit", SpanKind.CLIENT) as span:
            outcomes = await self._store.commit_all(commits)
            span.set_attribute("otp.outcomes", [_OUTCOMES[type(one)] for one in outcomes])
            return outcomes

    async def recall(self, tenant: str, key: str) -> tuple[int, Replayed | None]:
        """Read what is known of an Idempotency-Key."""
        with self._span("store recall", SpanKind.CLIENT):
            return await self._store.recall(tenant, key)

    async def remember(
        self, tenant: str, key: str, old: Replayed | None, new: Replayed | None, operation: str
    ) -> bool:
        """Replace what is known of an Idempotency-Key."""
        with self._span("store remember", SpanKind.CLIENT):
            return await self._store.remember(tenant, key, old, new, operation)


class TracedHasher:
    """Implements `core.ports.Hasher`."""

    def __init__(self, hasher: Hasher, tracing: Tracing) -> None:
        self._hasher = hasher
        self._span = tracing.span

    async def slow(self, code: str, salt: bytes) -> bytes:
        """Return argon2id(code, salt)."""
        with self._span("argon2"):
            return await self._hasher.slow(code, salt)


class TracedRouter:
    """Implements `core.ports.Router`."""

    def __init__(self, router: Router, tracing: Tracing) -> None:
        self._router = router
        self._span = tracing.span
        self.received = router.received

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Hand the message to providers until one takes it."""
        with self._span("send"):
            return await self._router.send(message)


class TracedProvider:
    """A provider whose submissions are seen."""

    def __init__(self, provider: Provider, tracing: Tracing) -> None:
        self._provider = provider
        self._span = tracing.span
        self.name = provider.name
        self.aclose = provider.aclose

    async def send(self, message: Message) -> Reply:
        """Hand the message to the provider; who is silent until the deadline is cancelled."""
        with self._span("submit", SpanKind.CLIENT) as span:
            span.set_attribute("otp.provider", self.name)
            reply = await self._provider.send(message)
            made = Submission.of(self.name, reply, at=0, milliseconds=0)
            span.set_attribute("otp.outcome", made.outcome)
            if made.reason:
                span.set_attribute("otp.reason", made.reason)
            return reply


def _caller(scope: Any) -> Context:
    """Return the span that the caller says he is in; of its baggage and vendor state, nothing."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    carrier = {"traceparent": given[0].decode("latin-1")} if len(given) == 1 else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())
