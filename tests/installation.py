"""The service on a real Redis, with a clock that can be moved and providers that obey."""

import asyncio
import os
import re
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from otp_service.core.admission import Gate
from otp_service.core.argon2_profile import CHEAPEST
from otp_service.core.delivery import Accepted, Fault, Message, Refused, Reply, Submission
from otp_service.core.events import EpochBegan
from otp_service.core.keys import RINGS, Key, Keys, Ring
from otp_service.core.messages import Messages
from otp_service.core.policy import Policy
from otp_service.core.ports import Stored
from otp_service.core.tenant import Tenant
from otp_service.hashing import ArgonPool
from otp_service.schemas import IssueRequest, VerifyRequest
from otp_service.service import Caller, OtpService, Parts, Random
from otp_service.store.client import Link
from otp_service.store.key_names import Names
from otp_service.store.record_cipher import Vault
from otp_service.store.redis_store import RedisStore
from otp_service.store.rotating_store import RotatingStore


SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


class Phones:
    """A router whose replies are put in line beforehand; it accepts when none is left.

    Each element of `replies` is what the providers of one send answer, in order.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.news: list[Any] = []
        self.replies: deque[list[Reply]] = deque()
        self.meanwhile: Callable[[], Any] | None = None

    def will_answer(self, *replies: Reply) -> None:
        """Let the next send be answered so."""
        self.replies.append(list(replies))

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Keep the message; every submission that may have been sent counts as one."""
        replies = self.replies.popleft() if self.replies else [Accepted("m")]
        made = [
            msgspec.structs.replace(Submission.of(f"p{i}", reply, at=i, milliseconds=1), place=i)
            for i, reply in enumerate(replies, start=1)
        ]
        self.messages += [message for submission in made if submission.may_be_billed]
        if self.meanwhile:
            await self.meanwhile()
        return tuple(made)

    def received(self, *news: Any) -> None:
        """Keep what trusted receipts have said."""
        self.news.append(news)

    def code(self, index: int = -1) -> str:
        """Return the code in a message that arrived."""
        found = re.search(r"\d{6}", self.messages[index].text)
        assert found
        return found[0]


class CountingPool(ArgonPool):
    """Counts what is compared."""

    def __init__(self) -> None:
        super().__init__(CHEAPEST, 2)
        self.runs = 0

    async def slow(self, code: str, salt: bytes) -> bytes:
        """Count and hash."""
        self.runs += 1
        return await super().slow(code, salt)


class World:
    """One installation of the service, and a login back end beside it."""

    def __init__(self, link: Link, keys: Keys | None = None, **changes: Any) -> None:
        self.link = link
        self.keys = keys or fresh_keys()
        self.shift = 0
        self.phones = Phones()
        self.hasher = CountingPool()
        self.tenants = {
            name: Tenant(name, "Example", frozenset({"*"})) for name in ("shop", "bank")
        }
        names, *earlier = map(Names, self.keys.limit)
        self.store = (RotatingStore if earlier else RedisStore)(
            link,
            names,
            Vault(self.keys, os.urandom),
            earlier=earlier,
            epoch_event=EpochBegan(id="epoch"),
            shift=lambda: self.shift,
        )
        self.parts = msgspec.structs.replace(self._parts(), **changes)
        self.service = OtpService(self.parts)

    def _parts(self) -> Parts:
        return Parts(
            store=self.store,
            router=self.phones,
            hasher=self.hasher,
            keys=self.keys,
            policy=Policy(),
            messages={name: Messages("Example") for name in self.tenants},
            tenants=self.tenants,
            hashing=Gate(1000, 1000),
            sending=Gate(1000, 1000),
            random=Random(secrets.randbelow, os.urandom),
            versions={"config": "test"},
            patience=13_000,
            allow_fictitious=True,
        )

    def again(self, **changes: Any) -> "World":
        """Return the same installation after a restart with something changed."""
        other = World(self.link, changes.pop("keys", self.keys), **changes)
        other.shift, other.phones = self.shift, self.phones
        parts = msgspec.structs.replace(other.parts, router=self.phones)
        other.parts, other.service = parts, OtpService(parts)
        return other

    def wait(self, milliseconds: int) -> None:
        """Let time pass."""
        self.shift += milliseconds

    def caller(self, tenant: str = "shop") -> Caller:
        """Return a call's caller."""
        return Caller(self.tenants[tenant], f"{tenant}-key", "request-1")

    async def issue(
        self,
        number: str = "+447400123456",
        *,
        tenant: str = "shop",
        key: str | None = None,
        **more: Any,
    ) -> Stored:
        """Ask for a code."""
        return await self.service.issue(self.caller(tenant), IssueRequest(number, **more), key)

    async def verify(
        self,
        stored: Stored,
        code: str,
        *,
        tenant: str = "shop",
        key: str | None = None,
        **more: Any,
    ) -> Stored:
        """Try a code."""
        ask = VerifyRequest(code, **more)
        return await self.service.verify(self.caller(tenant), self.id_of(stored), ask, key)

    async def resend(
        self, stored: Stored, *, tenant: str = "shop", key: str | None = None
    ) -> Stored:
        """Ask for another code."""
        return await self.service.resend(self.caller(tenant), self.id_of(stored), key)

    async def names(self, pattern: str = "*") -> list[bytes]:
        """Return the names of keys, on all masters."""
        masters = await self.link.masters()
        found = [await self.link.ask(master, "KEYS", pattern) for master in masters]
        return sorted(key for some in found for key in some)

    async def events(self) -> list[dict[str, Any]]:
        """Return all events in order of partition and sequence, with their stamps."""
        found = []
        for partition in range(64):
            for name in self.store.names.log(partition)[1:3]:
                client: Any = self.link.client
                for entry, fields in await client.xrange(name):
                    event = msgspec.json.decode(fields[b"event"])
                    stamp = msgspec.json.decode(fields[b"stamp"]) if fields[b"stamp"] else {}
                    found.append(
                        event | stamp | {"entry": entry.decode(), "epoch": fields[b"epoch"]}
                    )
        return sorted(found, key=lambda event: tuple(map(int, event["entry"].split("-"))))

    async def told(self) -> list[str]:
        """Return the types of all events but the epochs', in order."""
        return [e["type"] for e in await self.events() if e["type"] != "log.epoch"]

    @staticmethod
    def id_of(stored: Stored) -> str:
        """Return the id of the challenge in an answer."""
        assert stored.challenge
        return stored.challenge.id


def wrong(code: str, by: int = 1) -> str:
    """Return another code."""
    return f"{(int(code) + by) % 10**6:06d}"


def fresh_keys(key_id: str = "1") -> Keys:
    """Return keys made now."""
    return Keys(*(Ring((Key(key_id, os.urandom(32)),)) for _ in RINGS))


async def together(*calls: Any) -> list[Any]:
    """Run all calls at once and return their results or errors."""
    return await asyncio.gather(*calls, return_exceptions=True)


REFUSED = Refused(Fault.PROVIDER, "down")
MAYBE = Refused(Fault.UNKNOWN, "read-timeout")
NO_SUCH_NUMBER = Refused(Fault.RECIPIENT, "unknown-subscriber")
TAKEN = Accepted("m")
