"""A service that says what it is told to, and the API in front of it."""

import asyncio
import secrets
from typing import Any

import httpx
import msgspec

from otp_service.api import Answered, ApiContext, InFlight, PageParts, admin_app, public_app
from otp_service.api.audit_ui.sessions import Sessions
from otp_service.api.auth import Keyring
from otp_service.audit.reports.daily_stats import Days
from otp_service.audit.verification.background import Verifications
from otp_service.core.challenge import Challenge
from otp_service.core.delivery import Fault, Receipt, Reference, Submission
from otp_service.core.keys import Key, Ring
from otp_service.core.log_entry import Entry, Position, rfc3339
from otp_service.core.ports import Stored
from otp_service.core.tenant import ApiKey, Scope, Tenant, digest
from otp_service.service import Received
from otp_service.sms.aws.certificates import Certificates
from otp_service.sms.callbacks import Addresses, BadSignature


NOW = 1_795_348_800_250  # 2026-11-22T12:00:00.250Z
ID = "c07-5d41402abc4b2a76b9719d911017c592"
KEYS = {
    "shop": frozenset({Scope.CHALLENGES}),
    "shop-audit": frozenset({Scope.AUDIT}),
    "security": frozenset({Scope.AUDIT_ALL}),
    "operator": frozenset({Scope.OPERATOR}),
    "expired": frozenset(Scope),
}

CHALLENGE = Challenge(
    tenant="shop",
    id=ID,
    version=1,
    purpose="login",
    account="u-81",
    masked="+44********56",
    subject="p1:00",
    country="GB",
    created_at=NOW,
    deadline=NOW + 300_000,
    ends_at=NOW + 300_000,
    resend_at=NOW + 30_000,
    attempts_left=5,
    sends_left=2,
    submissions=(
        Submission("east", "refused", Fault.PROVIDER, "overloaded", NOW + 100, 12),
        Submission("west", "unknown", Fault.UNKNOWN, "read-timeout", NOW + 200, 900),
        Submission("north", "accepted", None, None, NOW + 1100, 90, "message-7"),
    ),
)


class FakeService:
    """The shape of OtpService: keeps what it was asked, and answers or raises what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.stored = Stored(NOW, CHALLENGE, None)
        self.error: Exception | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.was_asked = asyncio.Event()
        self.finished = 0

    async def issue(self, caller, ask, key):
        return await self._answer("issue", caller, ask, key)

    async def resend(self, caller, challenge_id, key):
        return await self._answer("resend", caller, challenge_id, key)

    async def verify(self, caller, challenge_id, ask, key):
        return await self._answer("verify", caller, challenge_id, ask, key)

    async def view(self, caller, challenge_id):
        return await self._answer("view", caller, challenge_id)

    async def cancel(self, caller, challenge_id):
        await self._answer("cancel", caller, challenge_id)

    async def unlock(self, caller, ask):
        await self._answer("unlock", caller, ask)

    async def receive(self, caller, provider, news, *, trusted):
        self.asked.append(("receive", caller, provider, news, trusted))
        if self.error:
            raise self.error
        lost = Reference.read(news.reference) if news.status == "technical-failure" else None
        return Received(news.reference != "unknown", lost)

    async def rescue(self, caller, provider, reference):
        self.asked.append(("rescue", caller.key_id, provider, str(reference)))

    async def _answer(self, *asked):
        self.asked.append(asked)
        self.was_asked.set()
        await self.may_go_on.wait()
        self.finished += 1
        if self.error:
            raise self.error
        return self.stored


class FakeReceiver:
    """The shape of a dialect: one receipt a line, `status reference`, signed or not."""

    acknowledgement = (200, b"ACK")
    came: Any = None

    def needs(self, callback):
        return callback.headers.get("certificate")

    def receipts(self, callback):
        self.came = callback
        if callback.headers.get("signature", "good") != "good":
            raise BadSignature
        lines = [line.split() for line in callback.body.decode().splitlines()]
        signed = "signature" in callback.headers
        return [Receipt(status, reference, is_signed=signed) for status, reference in lines]


class FakeReader:
    """The shape of the audit log's reader."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.log: list[Entry] = []
        """Newest first."""
        self.next: str | None = None

    async def page(self, **asked):
        self.asked.append(asked)
        if self.error:
            raise self.error
        if self.log:
            return [self.shown(entry) for entry in self.log], self.next
        return [{"type": "otp.issued", "tenant": "shop"}], "next-page"

    async def entries(self, **asked):
        self.asked.append(asked)
        if self.error:
            raise self.error
        for entry in self.log:
            yield entry

    def is_ours(self, entry):
        return entry.mac == "ok"

    def shown(self, entry):
        told = msgspec.json.decode(entry.event)
        integrity = "ok" if self.is_ours(entry) else "failed"
        return told | {"at": rfc3339(entry.position.at), "integrity": integrity}

    def tell(self, at=NOW, mac="ok", stamp=b"", **event):
        """Put an event into the log, where each is newer than the one before."""
        self.log.insert(
            0,
            Entry(
                partition=7,
                position=Position(at, len(self.log) + 1),
                epoch=1,
                event=msgspec.json.encode({"type": "otp.issued"} | event),
                mac=mac,
                stamp=stamp,
            ),
        )


class Api:
    """Both applications, with everything that they were told and that they tell."""

    def __init__(self, **changes: Any) -> None:
        self.service = FakeService()
        self.reader = FakeReader()
        self.in_flight = InFlight()
        self.lookups: list[tuple[Any, ...]] = []
        self.lookup_error: Exception | None = None
        self.denied: list[str] = []
        self.rejected: list[tuple[str, str]] = []
        self.receipts: list[tuple[str, str]] = []
        self.fetched: list[str] = []
        self.addresses = Addresses("https://otp.example", Ring((Key("1", bytes(range(32))),)))
        self.answered: list[Answered] = []
        self.ready: Any = yes
        """What stands behind the context's own `ready`."""
        parts: dict[str, Any] = {
            "service": self.service,
            "api_keys": [_key(name, scopes) for name, scopes in KEYS.items()],
            "tenants": {"shop": Tenant("shop", "Shop", frozenset({"GB"}))},
            "reader": self.reader,
            "looked_up": self.look_up,
            "ready": self.is_ready,
            "metrics": lambda: (b"up 1\n", "text/plain; version=1.0.0; charset=utf-8"),
            "observe": self.answered.append,
            "callbacks": self.addresses,
            "certificates": Certificates(httpx.MockTransport(self.fetch), clock=lambda: 0.0),
            "receivers": {"acme": FakeReceiver()},
            "count_receipt": lambda *counted: self.receipts.append(counted),
            "count_denied": self.denied.append,
            "count_rejected": lambda *counted: self.rejected.append(counted),
            "in_flight": self.in_flight,
        }
        self.context = ApiContext(**(parts | changes))
        self.public: Any = public_app(self.context)
        self.now = NOW
        keyring = Keyring(self.context.api_keys, self.context.tenants, self.denied.append)
        self.sessions = Sessions(
            keyring, now=lambda: self.now, token=lambda: secrets.token_urlsafe(32)
        )
        self.verifications: Verifications | None = None
        self.admin: Any = admin_app(self.context, self._pages())

    async def look_up(self, phone, found, **who):
        """Record it, or be away with the store."""
        if self.lookup_error:
            raise self.lookup_error
        self.lookups.append((phone.e164, found, who))

    def _pages(self) -> PageParts:
        return PageParts(
            sessions=self.sessions,
            days=Days(self.context.reader, lambda: self.now),
            verifications=self.verifications,
            now=lambda: self.now,
        )

    def archive_in(self, folder, keys) -> Verifications:
        """Let the page verify an archive."""
        self.verifications = Verifications(folder, lambda: keys, lambda: self.now)
        self.admin.state.pages = self._pages()
        return self.verifications

    def fetch(self, request):
        """Answer whoever fetches a certificate."""
        self.fetched.append(str(request.url))
        return httpx.Response(200 if "good" in str(request.url) else 404)

    async def is_ready(self) -> bool:
        """Ask whatever the test has put there."""
        return await self.ready()

    async def call(self, method: str, path: str, *, key: str = "shop", **more: Any):
        """Call the public application with one of KEYS."""
        headers = httpx.Headers(bearer(key) if key else {})
        headers.update(more.pop("headers", {}))
        async with client(self.public) as public:
            return await public.request(method, path, headers=headers, **more)

    async def look(self, path: str, **more: Any):
        """Get something from the admin application."""
        async with client(self.admin) as admin:
            return await admin.get(path, **more)


def client(app: Any) -> httpx.AsyncClient:
    """Return a client of an application."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def bearer(key: str) -> dict[str, str]:
    """Return the header of the key with this name."""
    return {"Authorization": f"Bearer {clear(key)}"}


def clear(key: str) -> str:
    """Return a key as its owner has it."""
    return f"{key}-0123456789abcdef0123456789abcdef"


async def yes() -> bool:
    """Say that the store is there."""
    return True


def _key(name: str, scopes: frozenset[Scope]) -> ApiKey:
    expires_at = 1 if name == "expired" else None
    return ApiKey(name, "shop", digest(clear(name)), scopes, expires_at)


def scope_of(method: str, path: str, *headers: tuple[bytes, bytes]) -> Any:
    """Return a request as an ASGI server would put it."""
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


async def served(app, scope: dict[str, Any], *events: dict[str, Any]):
    """Return what an application answers to these events: status, headers and body."""
    waiting, sent = list(events), []

    async def receive():
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])
