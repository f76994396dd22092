"""What the use cases are made of, and who is calling."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from otp_service.core.admission import AdmissionControl
from otp_service.core.challenge import Challenge
from otp_service.core.errors import OtpError, RateLimited
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip
from otp_service.core.keys import ServiceKeys
from otp_service.core.messages import MessageRenderer
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.policy import Policy
from otp_service.core.ports import Commit, Hasher, Router, Store
from otp_service.core.pseudonym import derive_pseudonym
from otp_service.core.tenant import Tenant


OPERATION_ID_BYTES = 16


class RandomSource:
    """The system's randomness; tests put their own in its place."""

    def __init__(
        self, randbelow: Callable[[int], int], token_bytes: Callable[[int], bytes]
    ) -> None:
        self.randbelow = randbelow
        self.token_bytes = token_bytes
        self._unused_bytes = b""

    def generate_operation_id(self) -> str:
        """Return the name of one operation, or of one event.

        These are no secrets of anybody's, so they are drawn in blocks: there are a dozen in each
        login, and a call of the system for each costs more than the rest of making them.
        """
        if len(self._unused_bytes) < OPERATION_ID_BYTES:
            self._unused_bytes = self.token_bytes(64 * OPERATION_ID_BYTES)
        name, self._unused_bytes = (
            self._unused_bytes[:OPERATION_ID_BYTES],
            self._unused_bytes[OPERATION_ID_BYTES:],
        )
        return name.hex()


class Dependencies(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the use cases need, put together by `app`."""

    store: Store
    router: Router
    hasher: Hasher
    keys: ServiceKeys
    policy: Policy
    message_renderers: Mapping[str, MessageRenderer]
    """How each tenant's messages read."""
    tenants: Mapping[str, Tenant]
    hash_slots: AdmissionControl
    send_slots: AdmissionControl
    random: RandomSource
    versions: dict[str, str]
    """The configuration and the keys in force, as events tell them."""
    issue_timeout_ms: int
    """Milliseconds that a whole issue may take: the router's deadline and some more."""
    allow_fictitious: bool = False
    only_fictitious: bool = False


NO_TENANT: Final = Tenant("", "", frozenset())
"""The tenant of providers and of the command line, which act for every tenant."""


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf a call is made, and its names in logs and traces."""

    tenant: Tenant
    key_id: str
    request_id: str
    trace_id: str | None = None

    @classmethod
    def without_tenant(cls, name: str, request_id: str, trace_id: str | None = None) -> "Caller":
        """Return a caller that has no API key; events record `name`, such as `cli`, as the key."""
        return cls(NO_TENANT, name, request_id, trace_id)


class Subject(msgspec.Struct, frozen=True):
    """Whom a call is about, as far as it says."""

    phone: PhoneNumber | None = None
    account: str | None = None
    client_ip: str | None = None
    """As it was given."""
    client_ip_key: str | None = None
    """As limits count it."""

    @classmethod
    def from_request(
        cls, phone: PhoneNumber | None, account: str | None, client_ip: str | None
    ) -> "Subject":
        """Read the client's address; raises InvalidRequest if it is none."""
        if client_ip is None:
            return cls(phone, account)
        address = parse_client_ip(client_ip)
        return cls(phone, account, str(address), client_ip_limit_key(address))


def build_common_fields(
    dependencies: Dependencies, caller: Caller, subject: Subject, challenge: Challenge | None = None
) -> dict[str, Any]:
    """Return what events say of caller and person: pseudonyms, never the number itself."""
    known: dict[str, Any] = {
        "tenant": caller.tenant.name or None,
        "key_id": caller.key_id,
        "request": caller.request_id,
        "trace": caller.trace_id,
        "client_address": subject.client_ip,
        "versions": dependencies.versions,
    }
    if subject.account is not None:
        known["account"] = derive_pseudonym(
            dependencies.keys.pseudonym.current, "account", subject.account
        )
    if challenge:
        known |= {"challenge": challenge.id, "purpose": challenge.purpose}
        known |= {"number": challenge.number_pseudonym, "country": challenge.country}
        known["number_suffix"] = challenge.masked_number[-2:]
    elif subject.phone:
        known["number"] = derive_pseudonym(
            dependencies.keys.pseudonym.current, "number", subject.phone.canonical
        )
        known["country"] = subject.phone.country
        known["number_suffix"] = subject.phone.e164[-2:]
    return known


class CallContext:
    """Where one call about one number is worked on: its partition, and what its events say."""

    def __init__(  # who, about whom, where
        self,
        dependencies: Dependencies,
        caller: Caller,
        subject: Subject,
        partition: int,
        existing: Challenge | None = None,
        **extra_fields: str,
    ) -> None:
        self.dependencies = dependencies
        self.caller = caller
        self.subject = subject
        self.partition = partition
        self._challenge = existing
        self._extra_fields = extra_fields

    def build_event_fields(self, **fields: Any) -> dict[str, Any]:
        """Return the fields of an event of this call."""
        return {
            "id": self.dependencies.random.generate_operation_id(),
            **self._common_fields,
            **fields,
        }

    @cached_property
    def _common_fields(self) -> dict[str, Any]:
        return (
            build_common_fields(self.dependencies, self.caller, self.subject, self._challenge)
            | self._extra_fields
        )

    def build_commit(self, **fields: Any) -> Commit:
        """Return a commit in the number's partition, under a name of its own."""
        fields.setdefault("operation_id", self.dependencies.random.generate_operation_id())
        return Commit(partition=self.partition, **fields)


def build_limit_fields(error: OtpError) -> dict[str, Any]:
    """Return what an event says of the limit that refused; nothing if none did."""
    if not isinstance(error, RateLimited):
        return {}
    return {"limit": error.limit, "quota": error.quota, "period": error.period_seconds}
