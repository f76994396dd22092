"""A fake service with configurable answers, and the API in front of it."""

import asyncio
import copy
import functools
import secrets
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
from litestar import Litestar
from litestar.datastructures import State

from otp_service.api.applications import (
    connect_admin_api,
    connect_api,
    create_admin_routes,
    create_public_routes,
)
from otp_service.api.audit_admission import AuditAdmission
from otp_service.api.audit_ui import AuditUiDependencies
from otp_service.api.audit_ui.sessions import SessionStore
from otp_service.api.auth import ApiKeyRegistry
from otp_service.api.in_flight import BackgroundCalls
from otp_service.api.inbound_admission import InboundAdmission
from otp_service.api.request_context import ApiContext, RequestSummary
from otp_service.app import Application
from otp_service.audit.event_decoder import decode_event
from otp_service.audit.reports.daily_stats import DayStatsCache
from otp_service.audit.verification.background import BackgroundVerifier
from otp_service.clock import now_ms
from otp_service.core.challenge import Challenge
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import Fault, Receipt, Submission, SubmissionReference
from otp_service.core.inbound import InboundMessage
from otp_service.core.keys import Key, KeyRing
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.secret import Secret
from otp_service.core.tenant import ApiKey, Scope, Tenant, hash_api_key
from otp_service.schemas import ServiceStatus
from otp_service.service import ReceiptResult
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.provider_callbacks import CallbackSignatureError, CallbackUrls, SkippedEvent


NOW_MS = 1_795_348_800_250  # 2026-11-22T12:00:00.250Z
CHALLENGE_ID = "c07-5d41402abc4b2a76b9719d911017c592"
DELIVERY_ID = "d07-7d793037a0760186574b0282f2f435e7"
KEY_SCOPES = {
    "shop": frozenset({Scope.CHALLENGES}),
    "deliverer": frozenset({Scope.DELIVER}),
    "shop-audit": frozenset({Scope.AUDIT}),
    "security": frozenset({Scope.AUDIT_ALL}),
    "operator": frozenset({Scope.OPERATOR}),
    "expired": frozenset(Scope),
}

CHALLENGE = Challenge(
    tenant="shop",
    id=CHALLENGE_ID,
    version=1,
    purpose="login",
    account="u-81",
    masked_number="+44********56",
    number_pseudonym="p1:00",
    country="GB",
    created_at=NOW_MS,
    deadline=NOW_MS + 300_000,
    ends_at=NOW_MS + 300_000,
    resend_at=NOW_MS + 30_000,
    attempts_left=5,
    sends_left=2,
    submissions=(
        Submission("east", "refused", Fault.PROVIDER, "overloaded", NOW_MS + 100, 12),
        Submission("west", "unknown", Fault.UNKNOWN, "read-timeout", NOW_MS + 200, 900),
        Submission("north", "accepted", None, None, NOW_MS + 1100, 90, "message-7"),
    ),
)


class FakeService:
    """A fake OtpService: records its calls, and returns or raises what the test has set."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.snapshot: Any = ChallengeSnapshot(NOW_MS, CHALLENGE, None)
        self.error: Exception | None = None
        self.released = asyncio.Event()
        self.released.set()
        self.called = asyncio.Event()
        self.finished_count = 0

    async def issue(self, caller, request, idempotency_key):
        return await self._reply_to("issue", caller, request, idempotency_key)

    async def resend(self, caller, challenge_id, idempotency_key):
        return await self._reply_to("resend", caller, challenge_id, idempotency_key)

    async def verify(self, caller, challenge_id, request, idempotency_key):
        return await self._reply_to("verify", caller, challenge_id, request, idempotency_key)

    async def get_challenge(self, caller, challenge_id):
        return await self._reply_to("view", caller, challenge_id)

    async def cancel(self, caller, challenge_id):
        await self._reply_to("cancel", caller, challenge_id)

    async def deliver(self, caller, request, idempotency_key):
        return await self._reply_to("deliver", caller, request, idempotency_key)

    async def get_delivery(self, caller, delivery_id):
        return await self._reply_to("get_delivery", caller, delivery_id)

    @property
    def numbers(self):
        return self

    @property
    def recovery_sets(self):
        return self

    async def create_set(self, caller, request):
        return await self._reply_to("create_set", caller, request)

    async def verify_code(self, caller, request, idempotency_key):
        return await self._reply_to("verify_code", caller, request, idempotency_key)

    async def unlock_number(self, caller, phone):
        await self._reply_to("unlock", caller, phone.e164)

    async def handle_receipt(self, caller, provider, receipt, *, trusted):
        self.calls.append(("receive", caller, provider, receipt, trusted))
        if self.error:
            raise self.error
        lost = (
            SubmissionReference.parse(receipt.reference)
            if receipt.status == "technical-failure"
            else None
        )
        return ReceiptResult(receipt.reference != "unknown", lost)

    async def auto_resend(self, caller, provider, reference, _sleep):
        self.calls.append(("rescue", caller.key_id, provider, str(reference)))

    async def _reply_to(self, *asked):
        self.calls.append(asked)
        self.called.set()
        await self.released.wait()
        self.finished_count += 1
        if self.error:
            raise self.error
        return self.snapshot


class FakeReceiptDialect:
    """A fake dialect: one receipt a line, `status reference`, signed or not.

    A line `from NUMBER TEXT` is a message from a phone.
    """

    acknowledgement = (200, b"ACK")
    inbound_acknowledgement = (200, b"INBOUND")
    inbound_tokens: tuple[Secret, ...] = ()
    last_callback: Any = None
    skipped: tuple[SkippedEvent, ...] = ()
    """Other parts of each callback."""

    def requires_signature(self, callback):
        return "signature" in callback.headers

    def find_certificate_url(self, callback):
        return callback.headers.get("certificate")

    def parse_callback(self, callback):
        self.last_callback = callback
        if callback.headers.get("signature", "good") != "good":
            raise CallbackSignatureError
        lines = [line.split(maxsplit=2) for line in callback.text.splitlines()]
        signed = "signature" in callback.headers
        return [*self.skipped, *(self._parse_line(line, is_signed=signed) for line in lines)]

    def _parse_line(self, line, *, is_signed):
        match line:
            case "from", number, text:
                return InboundMessage(number, text, is_signed=is_signed)
            case _:
                status, reference = line
                return Receipt(status, reference, is_signed=is_signed)


class FakeEventReader:
    """A fake reader of the audit log."""

    def __init__(self) -> None:
        self.queries: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.log: list[Entry] = []
        """Newest first."""
        self.next_cursor: str | None = None

    async def read_page(self, **query):
        self.queries.append(query)
        if self.error:
            raise self.error
        if self.log:
            return [self.decode_event(entry).to_public() for entry in self.log], self.next_cursor
        return [{"type": "otp.issued", "tenant": "shop"}], "next-page"

    async def iterate_entries(self, **query):
        self.queries.append(query)
        if self.error:
            raise self.error
        for entry in self.log:
            yield entry

    def decode_event(self, entry):
        return decode_event(entry, has_valid_mac=entry.mac == "ok")

    def add_event(self, at=NOW_MS, mac="ok", stamp=b"", **event):
        """Append an event to the log; each is newer than the one before."""
        self.log.insert(
            0,
            Entry(
                partition=7,
                position=StreamPosition(at, len(self.log) + 1),
                epoch=1,
                event=msgspec.json.encode({"type": "otp.issued"} | event),
                mac=mac,
                stamp=stamp,
            ),
        )


class ApiHarness:
    """Both applications, with their inputs and outputs recorded."""

    def __init__(self, **changes: Any) -> None:
        self.service = FakeService()
        self.reader = FakeEventReader()
        self.background_calls = BackgroundCalls()
        self.lookups: list[tuple[Any, ...]] = []
        self.lookup_error: Exception | None = None
        self.denied: list[str] = []
        self.rejected: list[tuple[str, str]] = []
        self.receipts: list[tuple[str, str]] = []
        self.inbound_messages: list[tuple[Any, str, InboundMessage]] = []
        self.hook_results: list[tuple[str, str]] = []
        self.metrics = SimpleNamespace(count_receipt=lambda *counted: self.receipts.append(counted))
        self.fetched_urls: list[str] = []
        self.callback_urls = CallbackUrls(
            "https://otp.example", KeyRing((Key("1", bytes(range(32))),))
        )
        self.request_summaries: list[RequestSummary] = []
        self.check_ready: Any = return_true
        """The check behind the context's own `ready`."""
        parts: dict[str, Any] = {
            "service": self.service,
            "now": now_ms,
            "api_keys": [_build_api_key(name, scopes) for name, scopes in KEY_SCOPES.items()],
            "tenants": {"shop": Tenant("shop", "Shop", frozenset({"GB"}))},
            "reader": self.reader,
            "audit_admission": AuditAdmission(now_ms, calls_per_minute=60),
            "record_lookup": self.record_lookup,
            "is_ready": self.is_ready,
            "render_metrics": lambda: (b"up 1\n", "text/plain; version=1.0.0; charset=utf-8"),
            "record_request": self.request_summaries.append,
            "callback_urls": self.callback_urls,
            "certificates": CertificateCache(
                httpx.MockTransport(self.fetch_certificate), clock=lambda: 0.0
            ),
            "callback_dialects": {"acme": FakeReceiptDialect()},
            "hooks": {},
            "handle_receipt": partial(Application.handle_receipt, cast("Application", self)),
            "count_denied_access": self.denied.append,
            "count_rejected_callback": lambda *counted: self.rejected.append(counted),
            "count_hook_request": lambda *counted: self.hook_results.append(counted),
            "handle_inbound": self.handle_inbound,
            "inbound_admission": InboundAdmission(),
            "background_calls": self.background_calls,
        }
        self.context = ApiContext(**(parts | changes))
        self.public: Any = connect_api(_copy_routes(_share_public_routes()), self.context)
        self.now = NOW_MS
        keyring = ApiKeyRegistry(self.context.api_keys, self.context.tenants, self.denied.append)
        self.sessions = SessionStore(
            keyring, now=lambda: self.now, new_token=lambda: secrets.token_urlsafe(32)
        )
        self.background_verifier: BackgroundVerifier | None = None
        self.status = ServiceStatus(
            version="1",
            mode="live",
            configuration="0123456789ab",
            configuration_file="/etc/otp/otp.toml",
            started_at="2026-11-22T00:00:00Z",
            reload_refused=False,
            processes=[],
            problems=[],
        )
        handlers = self.context.admin_handlers
        routes = create_admin_routes(handlers) if handlers else _copy_routes(_share_admin_routes())
        self.admin: Any = connect_admin_api(
            routes, self.context, self._build_audit_ui(), lambda: self.status
        )

    async def handle_inbound(self, caller, provider, message):
        """Record a message from a phone, or fail as an unavailable store does."""
        if self.service.error:
            raise self.service.error
        self.inbound_messages.append((caller, provider, message))

    async def record_lookup(self, phone, account, found, **event_fields):
        """Record the lookup of a person, or fail as an unavailable store does."""
        if phone is None and account is None:
            return
        if self.lookup_error:
            raise self.lookup_error
        self.lookups.append((phone.e164 if phone else account, found, event_fields))

    def _build_audit_ui(self) -> AuditUiDependencies:
        return AuditUiDependencies(
            session_store=self.sessions,
            days=DayStatsCache(self.context.reader, lambda: self.now),
            background_verifier=self.background_verifier,
            now=lambda: self.now,
            currency="EUR",
        )

    def use_archive(self, folder, keys) -> BackgroundVerifier:
        """Let the page verify an archive."""
        self.background_verifier = BackgroundVerifier(folder, lambda: keys, lambda: self.now)
        self.admin.state.ui_dependencies = self._build_audit_ui()
        return self.background_verifier

    def fetch_certificate(self, request):
        """Return the certificate, as the fetcher does."""
        self.fetched_urls.append(str(request.url))
        return httpx.Response(200 if "good" in str(request.url) else 404)

    async def is_ready(self) -> bool:
        """Call the readiness check that the test has set."""
        return await self.check_ready()

    async def call_public(self, method: str, path: str, *, key: str = "shop", **more: Any):
        """Call the public application with one of KEYS."""
        headers = httpx.Headers(build_auth_header(key) if key else {})
        headers.update(more.pop("headers", {}))
        async with create_http_client(self.public) as public:
            return await public.request(method, path, headers=headers, **more)

    async def call_admin(self, method: str, path: str, **more: Any):
        """Call the admin application."""
        async with create_http_client(self.admin) as admin:
            return await admin.request(method, path, **more)

    async def get_admin(self, path: str, **more: Any):
        """Get something from the admin application."""
        return await self.call_admin("GET", path, **more)


# To build the routes takes 45 ms, which was most of the time of a test. They hold nothing of a request.
_share_public_routes = functools.cache(create_public_routes)
_share_admin_routes = functools.cache(create_admin_routes)


def _copy_routes(routes: Litestar) -> Litestar:
    """Return an application with these routes, and with state and middleware of its own."""
    copied = copy.copy(routes)
    copied.state = State()
    return copied


def create_http_client(app: Any) -> httpx.AsyncClient:
    """Return a client of an application."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def build_auth_header(key: str) -> dict[str, str]:
    """Return the header of the key with this name."""
    return {"Authorization": f"Bearer {to_plain_key(key)}"}


def to_plain_key(key: str) -> str:
    """Return a key as its owner has it."""
    return f"{key}-0123456789abcdef0123456789abcdef"


async def return_true() -> bool:
    """Report that the store is available."""
    return True


def _build_api_key(name: str, scopes: frozenset[Scope]) -> ApiKey:
    expires_at = 1 if name == "expired" else None
    return ApiKey(name, "shop", hash_api_key(to_plain_key(name)), scopes, expires_at)


def build_scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> Any:
    """Return the scope of a request as an ASGI server would build it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "root_path": "",
        "state": {},
    }


async def run_asgi_call(app, scope: dict[str, Any], *events: dict[str, Any]):
    """Return what an application answers to these events: status, headers and body."""
    waiting, sent = list(events), []

    async def receive():
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])
