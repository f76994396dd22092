"""The service on a real Redis, with a clock that tests can advance and providers with set replies."""

import asyncio
import os
import re
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from otp_service.core.admission import AdmissionControl
from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import Accepted, Fault, Message, Refused, Reply, Submission
from otp_service.core.events import EpochStarted
from otp_service.core.keys import KEY_RING_NAMES, Key, KeyRing, ServiceKeys
from otp_service.core.keywords import DEFAULT_KEYWORDS, KeywordTable
from otp_service.core.messages import MessageRenderer
from otp_service.core.opt_out_scope import OptOutScopes
from otp_service.core.policy import Policy
from otp_service.core.ports import HashPriority
from otp_service.core.prepared_codes import PreparedCodes
from otp_service.core.tenant import Tenant
from otp_service.hashing import ARGON2_CFFI, ArgonPool, Engine, MeasuredEngine
from otp_service.schemas import DeliveryRequest, IssueRequest, VerifyRequest
from otp_service.service import Caller, Dependencies, OtpService, RandomSource
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.number_admin import NumberAdmin
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from otp_service.store.rotating_store import RotatingStore


KEYWORDS = KeywordTable(DEFAULT_KEYWORDS)
"""Every installation has it: folding the words of all languages takes longer than a test."""

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1000, 60_000, 3_600_000, 86_400_000


class FakeRouter:
    """A router whose replies are queued by the test; it accepts when the queue is empty.

    Each element of `queued_replies` has the replies of the providers of one send, in order.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.receipts: list[Any] = []
        self.queued_replies: deque[list[Reply]] = deque()
        self.on_send: Callable[[], Any] | None = None

    def queue_replies(self, *replies: Reply) -> None:
        """Set the replies of the next send."""
        self.queued_replies.append(list(replies))

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Record the message once for each submission that may have been sent."""
        replies = self.queued_replies.popleft() if self.queued_replies else [Accepted("m")]
        submissions = [
            msgspec.structs.replace(
                Submission.from_reply(f"p{i}", reply, at=i, milliseconds=1), ordinal=i
            )
            for i, reply in enumerate(replies, start=1)
        ]
        self.messages += [message for submission in submissions if submission.may_be_billed]
        if self.on_send:
            await self.on_send()
        return tuple(submissions)

    def record_receipt(self, *receipt: Any) -> None:
        """Record the arguments of trusted receipts."""
        self.receipts.append(receipt)

    def extract_code(self, index: int = -1) -> str:
        """Return the code in a recorded message."""
        match = re.search(r"\d{6}", self.messages[index].text)
        assert match
        return match[0]


class CountingHasher(ArgonPool):
    """An argon2 pool that counts its hashes."""

    def __init__(self, engine: Engine = ARGON2_CFFI, *, workers: int = 2) -> None:
        super().__init__(MeasuredEngine(engine, 0.1), TEST_PROFILE, workers)
        self.hash_count = 0

    async def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        profile: Argon2Profile | None = None,
        *,
        priority: HashPriority = HashPriority.ISSUE,
    ) -> bytes:
        self.hash_count += 1
        return await super().compute_argon2id(code, salt, profile, priority=priority)


class Installation:
    """One installation of the service, with the calls of a login back end."""

    def __init__(
        self, script_client: ScriptClient, keys: ServiceKeys | None = None, **changes: Any
    ) -> None:
        self.script_client = script_client
        self.keys = keys or generate_keys()
        self.clock_shift_ms = 0
        self.router = FakeRouter()
        self.hasher = CountingHasher()
        self.tenants = {
            name: Tenant(name, "Example", frozenset({"*"})) for name in ("shop", "bank")
        }
        names, *earlier = map(KeyNames, self.keys.limit)
        self.store = (RotatingStore if earlier else RedisStore)(
            script_client,
            names,
            RecordCipher(self.keys, os.urandom),
            earlier_key_names=earlier,
            epoch_event=EpochStarted(id="epoch"),
            clock_shift_ms=lambda: self.clock_shift_ms,
        )
        self.dependencies = msgspec.structs.replace(self._build_dependencies(), **changes)
        self.service = OtpService(self.dependencies)
        self._stop_refunds_before_close()

    def _stop_refunds_before_close(self) -> None:
        """Stop the refunds that wait for the store when the client is closed, as at shutdown."""
        close = self.script_client.aclose

        async def stop_and_close() -> None:
            await self.dependencies.refunds.drain(0)
            await close()

        self.script_client.aclose = stop_and_close  # type: ignore[method-assign]

    def _build_dependencies(self) -> Dependencies:
        return Dependencies(
            store=self.store,
            number_registry=NumberAdmin(self.store, self.keys.pseudonym),
            router=self.router,
            hasher=self.hasher,
            keys=self.keys,
            policy=Policy(),
            message_renderers={name: MessageRenderer("Example") for name in self.tenants},
            tenants=self.tenants,
            hash_slots=AdmissionControl(1000, 1000),
            verify_slots=AdmissionControl(1000, 1000),
            send_slots=AdmissionControl(1000, 1000),
            prepared_codes=PreparedCodes(1000, Policy().digits, TEST_PROFILE),
            random=RandomSource(secrets.randbelow, os.urandom),
            keywords=KEYWORDS,
            opt_out_scopes=OptOutScopes({"447400999001": "shop", "447400999002": "bank"}),
            versions={"config": "test"},
            issue_timeout_ms=13_000,
            allow_fictitious=True,
        )

    def restart(self, **changes: Any) -> "Installation":
        """Return the same installation after a restart with these changes."""
        other = Installation(self.script_client, changes.pop("keys", self.keys), **changes)
        other.clock_shift_ms, other.router = self.clock_shift_ms, self.router
        dependencies = msgspec.structs.replace(other.dependencies, router=self.router)
        other.dependencies, other.service = dependencies, OtpService(dependencies)
        return other

    def advance_clock(self, milliseconds: int) -> None:
        self.clock_shift_ms += milliseconds

    def build_caller(self, tenant: str = "shop") -> Caller:
        """Return the caller of a tenant."""
        return Caller(self.tenants[tenant], f"{tenant}-key", "request-1")

    async def issue(
        self,
        number: str = "+447400123456",
        *,
        tenant: str = "shop",
        key: str | None = None,
        **more: Any,
    ) -> ChallengeSnapshot:
        return await self.service.issue(
            self.build_caller(tenant), IssueRequest(number, **more), key
        )

    async def deliver(
        self,
        code: str = "471093",
        number: str = "+447400123456",
        *,
        tenant: str = "shop",
        key: str | None = None,
        **more: Any,
    ) -> ChallengeSnapshot:
        request = DeliveryRequest(number, code, **more)
        return await self.service.deliver(self.build_caller(tenant), request, key)

    async def verify(
        self,
        snapshot: ChallengeSnapshot,
        code: str,
        *,
        tenant: str = "shop",
        key: str | None = None,
        **more: Any,
    ) -> ChallengeSnapshot:
        request = VerifyRequest(code, **more)
        return await self.service.verify(
            self.build_caller(tenant), self.get_challenge_id(snapshot), request, key
        )

    async def resend(
        self, snapshot: ChallengeSnapshot, *, tenant: str = "shop", key: str | None = None
    ) -> ChallengeSnapshot:
        return await self.service.resend(
            self.build_caller(tenant), self.get_challenge_id(snapshot), key
        )

    async def list_keys(self, pattern: str = "*") -> list[bytes]:
        """Return the names of keys with this pattern, on all masters."""
        masters = await self.script_client.list_masters()
        replies = [
            await self.script_client.read_from(master, "KEYS", pattern) for master in masters
        ]
        return sorted(key for names in replies for key in names)

    async def read_events(self) -> list[dict[str, Any]]:
        """Return all events with their stamps, in order of position."""
        events = []
        for partition in range(64):
            for name in self.store.key_names.event_log_keys(partition)[1:3]:
                command = ("XRANGE", name, "-", "+")
                (entries,) = await self.script_client.run_pipeline(name, [command])
                for entry, flat in entries:
                    fields = dict(zip(flat[::2], flat[1::2], strict=True))
                    event = msgspec.json.decode(fields[b"event"])
                    stamp = msgspec.json.decode(fields[b"stamp"]) if fields[b"stamp"] else {}
                    events.append(
                        event | stamp | {"entry": entry.decode(), "epoch": fields[b"epoch"]}
                    )
        return sorted(events, key=lambda event: tuple(map(int, event["entry"].split("-"))))

    async def list_event_types(self) -> list[str]:
        """Return the types of all events except `log.epoch`, in order."""
        return [e["type"] for e in await self.read_events() if e["type"] != "log.epoch"]

    @staticmethod
    def get_challenge_id(snapshot: ChallengeSnapshot) -> str:
        assert snapshot.challenge
        return snapshot.challenge.id


def make_wrong_code(code: str, offset: int = 1) -> str:
    """Return another code."""
    return f"{(int(code) + offset) % 10**6:06d}"


def generate_keys(key_id: str = "1") -> ServiceKeys:
    """Return new random keys."""
    return ServiceKeys(*(KeyRing((Key(key_id, os.urandom(32)),)) for _ in KEY_RING_NAMES))


async def gather_results(*calls: Any) -> list[Any]:
    """Run all calls concurrently and return their results or errors."""
    return await asyncio.gather(*calls, return_exceptions=True)


PROVIDER_REFUSAL = Refused(Fault.PROVIDER, "down")
UNKNOWN_OUTCOME = Refused(Fault.UNKNOWN, "read-timeout")
RECIPIENT_REFUSAL = Refused(Fault.RECIPIENT, "unknown-subscriber")
ACCEPTED_REPLY = Accepted("m")
