"""What a call of a use case consists of: dependencies, caller, subject, and its context."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import msgspec
import phonenumbers
from msgspec.structs import replace

from otp_service.core.admission import AdmissionControl
from otp_service.core.challenge import (
    Challenge,
    ChallengeSecret,
    is_delivery_id,
    parse_partition,
)
from otp_service.core.commit import Commit
from otp_service.core.errors import ChallengeNotFound, DebtLimited, OtpError, RateLimited
from otp_service.core.events import (
    CHALLENGE_SEND_EVENTS,
    DELIVERY_SEND_EVENTS,
    SendEvents,
    SendStarted,
)
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip
from otp_service.core.keys import ServiceKeys
from otp_service.core.keywords import KeywordTable
from otp_service.core.known_addresses import Account, AddressTags, derive_address_tags
from otp_service.core.messages import MessageRenderer
from otp_service.core.opt_out_scope import OptOutScopes
from otp_service.core.phone_number import PhoneNumber, restore_number
from otp_service.core.policy import Policy
from otp_service.core.ports import Hasher, NumberRegistry, RiskService, Router, Store
from otp_service.core.prepared_codes import PreparedCodes
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import derive_block
from otp_service.core.random_source import RandomSource
from otp_service.core.risk import RiskAssessment
from otp_service.core.tenant import Tenant
from otp_service.core.timestamps import SECOND_MS, format_rfc3339
from otp_service.service.brake import Brake
from otp_service.service.pending_refunds import PendingRefunds


LEASE_MARGIN_MS = 5 * SECOND_MS


class Dependencies(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the use cases need; `app` puts it together."""

    store: Store
    number_registry: NumberRegistry
    router: Router
    hasher: Hasher
    keys: ServiceKeys
    policy: Policy
    message_renderers: Mapping[str, MessageRenderer]
    """By the name of the tenant."""
    tenants: Mapping[str, Tenant]
    hash_slots: AdmissionControl
    """Of argon2 for all calls that have no code of a person: issues, resends, new recovery sets."""
    verify_slots: AdmissionControl
    """Of argon2 for calls with a code: a burst of the others does not keep them out."""
    send_slots: AdmissionControl
    prepared_codes: PreparedCodes
    random: RandomSource
    versions: dict[str, str]
    """The ids of the configuration and of the keys in force, as events record them."""
    issue_timeout_ms: int
    """Milliseconds that an issue may take: the deadlines of risk service and router, and a margin."""
    keywords: KeywordTable
    opt_out_scopes: OptOutScopes
    refunds: PendingRefunds = msgspec.field(default_factory=PendingRefunds)
    brake: Brake = msgspec.field(default_factory=lambda: Brake({}, PriceTable(), now=lambda: 0))
    """The brake on SMS pumping; without settings of any tenant it charges nothing."""
    allow_fictitious: bool = False
    only_fictitious: bool = False
    fixed_codes: FixedCodes = FixedCodes()
    """Of fictitious numbers, outside of live mode."""
    risk_service: RiskService | None = None
    """What is asked before a send; None without one in the settings."""

    @property
    def lease_ms(self) -> int:
        """Milliseconds for which a call has its Idempotency-Key: longer than it can run."""
        return self.issue_timeout_ms + LEASE_MARGIN_MS


NO_TENANT: Final = Tenant("", "", frozenset())
"""The tenant of providers and of the command line, which act for every tenant."""


class Caller(msgspec.Struct, frozen=True):
    """The tenant that a call is made for, and the names of the call in logs and traces."""

    tenant: Tenant
    key_id: str
    request_id: str
    trace_id: str | None = None
    machine_user: str | None = None
    """The user who runs the command; None for a call over HTTP. Events record it as `by`."""

    def select_limits(self, phone: PhoneNumber | None) -> "Caller":
        """Return the caller with the limits of calls for this number."""
        tenant = self.tenant.select_limits(phone)
        return self if tenant is self.tenant else replace(self, tenant=tenant)

    @classmethod
    def without_tenant(
        cls,
        name: str,
        request_id: str,
        trace_id: str | None = None,
        machine_user: str | None = None,
    ) -> "Caller":
        """Return a caller that has no API key; events record `name`, such as `cli`, as the key."""
        return cls(NO_TENANT, name, request_id, trace_id, machine_user)


class Subject(msgspec.Struct, frozen=True):
    """The person that a call is about, as far as it is known."""

    phone: PhoneNumber | None = None
    account: str | None = None
    client_ip: str | None = None
    client_ip_key: str | None = None
    """The client's address or network, as limits count it."""
    is_assumed_known: bool = False
    """Whether a trusted tenant says of an issue that it knows the number."""
    has_passed_bot_check: bool = False
    """Whether the tenant says of an issue that its client has passed a bot check."""

    @classmethod
    def from_request(
        cls, phone: PhoneNumber | None, account: str | None, client_ip: str | None
    ) -> "Subject":
        """Parse the client's address. Raises InvalidRequest."""
        if client_ip is None:
            return cls(phone, account)
        address = parse_client_ip(client_ip)
        return cls(phone, account, str(address), client_ip_limit_key(address))

    @classmethod
    def from_challenge(
        cls, challenge: Challenge, secret: ChallengeSecret | None, client_ip: str | None
    ) -> "Subject":
        """Return the subject of a challenge; after the deadline, its number is unknown."""
        phone = restore_number(secret.number, challenge.country) if secret else None
        return cls.from_request(phone, challenge.account, client_ip)


class ChallengeRef(msgspec.Struct, frozen=True):
    """What is known of a challenge or delivery that was not fetched or does not exist yet."""

    id: str | None = None
    purpose: str | None = None


UNKNOWN_CHALLENGE: Final = ChallengeRef()


def build_risk_fields(risk: RiskAssessment | None) -> dict[str, str | None]:
    """Return the fields of an event about a send; none if the risk service was not asked."""
    return {"risk_answer": risk.answer.value, "risk_reason": risk.reason} if risk else {}


class CallContext:
    """One call about a challenge, a number or an account: its partition, and what its events share.

    Events name the number by its pseudonym: that in the challenge if it was read, else that of
    `subject.phone`. `token_fields` are the fields of events about an opened token.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        caller: Caller,
        subject: Subject,
        challenge: Challenge | ChallengeRef = UNKNOWN_CHALLENGE,
        token_fields: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.caller = caller
        self.subject = subject
        self.challenge = challenge
        self._token_fields = token_fields
        self._store = dependencies.store
        self._random = dependencies.random
        self._versions = dependencies.versions
        self._pseudonym_key = dependencies.keys.pseudonym.current
        self._limit_key = dependencies.keys.limit.current

    def build_event_fields(self, **fields: Any) -> dict[str, Any]:
        """Return the fields of one event of this call, with an id of its own."""
        return {"id": self._random.generate_operation_id(), **self._shared_fields, **fields}

    def build_refusal_fields(self, error: OtpError) -> dict[str, Any]:
        """Return the fields of the event of a refusal, with the limit if a limit refused."""
        fields = self.build_event_fields(reason=error.reason)
        if isinstance(error, RateLimited):
            fields["limit"], fields["quota"] = error.limit, error.quota
            fields["period"] = error.period_seconds
        if isinstance(error, DebtLimited):
            fields["unverified"], fields["allowance"] = error.unverified, error.allowance
        return fields

    def build_started_event(
        self, phone: PhoneNumber, deadline: int, fields: Mapping[str, Any]
    ) -> SendStarted:
        """Return the event of a challenge or delivery that is stored before its first message.

        `fields` are those of its risk and its debts.
        """
        return self.send_events.started(
            **self.build_event_fields(**fields),
            phone_metadata=phonenumbers.__version__,
            expires_at=format_rfc3339(deadline),
            **self.build_range_fields(phone),
        )

    def build_range_fields(self, phone: PhoneNumber) -> dict[str, Any]:
        """Return how events name the number's range and operator block."""
        derive_pseudonym = self._pseudonym_key.derive_pseudonym
        return {
            "prefix": derive_pseudonym("prefix", phone.prefix),
            "block": derive_pseudonym("block", derive_block(phone.canonical)),
        }

    def build_commit(self, **fields: Any) -> Commit:
        """Return a commit in the partition of the call, under an operation id of its own."""
        fields.setdefault("operation_id", self._random.generate_operation_id())
        return Commit(partition=self._partition, **fields)

    @property
    def account(self) -> str:
        """The account of a call that cannot be without one."""
        assert self.subject.account is not None
        return self.subject.account

    @property
    def account_at_tenant(self) -> Account | None:
        name = self.subject.account
        return None if name is None else Account(self.caller.tenant.name, name)

    @property
    def send_events(self) -> SendEvents:
        """The event types of sends of the challenge, or of the delivery."""
        is_delivery = self.challenge.id is not None and is_delivery_id(self.challenge.id)
        return DELIVERY_SEND_EVENTS if is_delivery else CHALLENGE_SEND_EVENTS

    @cached_property
    def address_tags(self) -> AddressTags | None:
        """The tags of the client's address; None without an account or an address."""
        account, phone = self.account_at_tenant, self.subject.phone
        address = self.subject.client_ip_key
        if account is None or address is None or phone is None:
            return None
        return derive_address_tags(self._limit_key, account, address, phone.canonical)

    @cached_property
    def _partition(self) -> int:
        """The partition that the challenge's id names, or that of the number, or of the account."""
        if self.challenge.id is None:
            if self.subject.phone:
                return self._store.get_number_partition(self.subject.phone.canonical)
            return self._store.get_account_partition(self.caller.tenant.name, self.account)
        partition = parse_partition(self.challenge.id)
        if partition is None:
            raise ChallengeNotFound
        return partition

    @cached_property
    def _shared_fields(self) -> dict[str, Any]:
        account = self.subject.account
        if account is not None:
            account = self._pseudonym_key.derive_pseudonym("account", account)
        return {
            "tenant": self.caller.tenant.name or None,
            "key_id": self.caller.key_id,
            "request": self.caller.request_id,
            "trace": self.caller.trace_id,
            "client_ip": self.subject.client_ip,
            "versions": self._versions,
            "challenge": self.challenge.id,
            "purpose": self.challenge.purpose,
            "account": account,
            **self._build_number_fields(),
            **self._token_fields,
        }

    def _build_number_fields(self) -> dict[str, Any]:
        challenge, phone = self.challenge, self.subject.phone
        if isinstance(challenge, Challenge):
            pseudonym, country = challenge.number_pseudonym, challenge.country
            suffix = challenge.masked_number[-2:]
        elif phone:
            pseudonym = self._pseudonym_key.derive_pseudonym("number", phone.canonical)
            country, suffix = phone.country, phone.e164[-2:]
        else:
            return {}
        return {"number": pseudonym, "country": country, "number_suffix": suffix}
