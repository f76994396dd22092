"""What the use cases are made of, and who is calling."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from otp_service.core.admission import Gate
from otp_service.core.challenge import Challenge
from otp_service.core.errors import NumberLocked, NumberNotAllowed, OtpError, RateLimited
from otp_service.core.ip_address import bucket_subject, read_address
from otp_service.core.keys import Keys
from otp_service.core.limits import Refusal
from otp_service.core.messages import Messages
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.policy import Policy
from otp_service.core.ports import Blocked, Commit, Hasher, Router, Store
from otp_service.core.pseudonym import pseudonym
from otp_service.core.tenant import Tenant


NAME_BYTES = 16


class Random:
    """The system's randomness; tests put their own in its place."""

    def __init__(self, below: Callable[[int], int], bytes_: Callable[[int], bytes]) -> None:
        self.below = below
        self.bytes = bytes_
        self._spare = b""

    def operation(self) -> str:
        """Return the name of one operation, or of one event.

        These are no secrets of anybody's, so they are drawn in blocks: there are a dozen in each
        login, and a call of the system for each costs more than the rest of making them.
        """
        if len(self._spare) < NAME_BYTES:
            self._spare = self.bytes(64 * NAME_BYTES)
        name, self._spare = self._spare[:NAME_BYTES], self._spare[NAME_BYTES:]
        return name.hex()


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the use cases need, put together by `app`."""

    store: Store
    router: Router
    hasher: Hasher
    keys: Keys
    policy: Policy
    messages: Mapping[str, Messages]
    """How each tenant's messages read."""
    tenants: Mapping[str, Tenant]
    hashing: Gate
    sending: Gate
    random: Random
    versions: dict[str, str]
    """The configuration and the keys in force, as events tell them."""
    patience: int
    """Milliseconds that a whole issue may take: the router's deadline and some more."""
    allow_fictitious: bool = False
    only_fictitious: bool = False


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf a call is made, and its names in logs and traces."""

    tenant: Tenant
    key_id: str
    request: str
    trace: str | None = None


class Person(msgspec.Struct, frozen=True):
    """Whom a call is about, as far as it says."""

    phone: PhoneNumber | None = None
    account: str | None = None
    address: str | None = None
    """As it was given."""
    subject: str | None = None
    """As limits count it."""

    @classmethod
    def of(cls, phone: PhoneNumber | None, account: str | None, client_ip: str | None) -> "Person":
        """Read the client's address; raises InvalidRequest if it is none."""
        if client_ip is None:
            return cls(phone, account)
        address = read_address(client_ip)
        return cls(phone, account, str(address), bucket_subject(address))


def who(
    parts: Parts, caller: Caller, person: Person, challenge: Challenge | None = None
) -> dict[str, Any]:
    """Return what events say of caller and person: pseudonyms, never the number itself."""
    known: dict[str, Any] = {
        "tenant": caller.tenant.name or None,
        "key_id": caller.key_id,
        "request": caller.request,
        "trace": caller.trace,
        "client_address": person.address,
        "versions": parts.versions,
    }
    if person.account is not None:
        known["account"] = pseudonym(parts.keys.pseudonym.current, "account", person.account)
    if challenge:
        known |= {"challenge": challenge.id, "purpose": challenge.purpose}
        known |= {"number": challenge.subject, "country": challenge.country}
        known["tail"] = challenge.masked[-2:]
    elif person.phone:
        known["number"] = pseudonym(parts.keys.pseudonym.current, "number", person.phone.collapsed)
        known["country"] = person.phone.country
        known["tail"] = person.phone.e164[-2:]
    return known


class Desk:
    """Where one call about one number is worked on: its partition, and what its events say."""

    def __init__(  # who, about whom, where
        self,
        parts: Parts,
        caller: Caller,
        person: Person,
        partition: int,
        of: Challenge | None = None,
        **named: str,
    ) -> None:
        self.parts = parts
        self.caller = caller
        self.person = person
        self.partition = partition
        self._of = of
        self._named = named

    def about(self, **more: Any) -> dict[str, Any]:
        """Return the fields of an event of this call."""
        return {"id": self.parts.random.operation(), **self._who, **more}

    @cached_property
    def _who(self) -> dict[str, Any]:
        return who(self.parts, self.caller, self.person, self._of) | self._named

    def commit(self, **fields: Any) -> Commit:
        """Return a commit in the number's partition, under a name of its own."""
        fields.setdefault("operation", self.parts.random.operation())
        return Commit(partition=self.partition, **fields)


def refused(outcome: Refusal | Blocked) -> NumberNotAllowed | NumberLocked | RateLimited:
    """Return the error that a caller is told when a commit was refused."""
    if isinstance(outcome, Blocked):
        return NumberNotAllowed("blocked")
    if outcome.wait < 0:
        return NumberLocked()
    window = outcome.window
    return RateLimited(
        outcome.limit,
        retry_after=outcome.retry_after,
        count=window.count,
        period=window.period,
    )


def limit_of(error: OtpError) -> dict[str, Any]:
    """Return what an event says of the limit that refused; nothing if none did."""
    if not isinstance(error, RateLimited):
        return {}
    return {"limit": error.limit, "quota": error.count, "period": error.period}
