"""Tenants, their API keys, and the scopes of the keys."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from otp_service.core.errors import Forbidden, InvalidRequest
from otp_service.core.limits import DEFAULT_LIMITS, LimitTable
from otp_service.core.phone_number import PhoneNumber


TENANT_NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,31}"


MAX_DIGIT_CODE_CHARS, MAX_LETTER_CODE_CHARS = 8, 10
DIGIT_CODE_PATTERN = f"[0-9]{{4,{MAX_DIGIT_CODE_CHARS}}}"
LETTER_CODE_PATTERN = f"[0-9A-Za-z]{{4,{MAX_LETTER_CODE_CHARS}}}"
MAX_VALID_MINUTES = 60
"""How long another product may accept a delivered code, as its message states."""
CODE_RULE = "must be 4 to 8 ASCII digits, or 4 to 10 letters and digits if the tenant's delivery_letters is set"
"""What a delivered code must be."""

REQUIRED_MEMBER_MESSAGE = "is required by this tenant's setting `requires`: the limits need it"


UNTRUSTED_KNOWN_MESSAGE = (
    "is only for a tenant with the setting `trust_known = true`: leave it out, or set that"
)


class Scope(StrEnum):
    CHALLENGES = "challenges"
    DELIVER = "deliver"
    AUDIT = "audit"
    AUDIT_ALL = "audit-all"
    OPERATOR = "operator"
    TWILIO_VERIFY = "twilio-verify"


class Tenant(msgspec.Struct, frozen=True):
    """A calling application: its name in messages, and where it may send."""

    name: str
    brand: str
    countries: frozenset[str]
    """libphonenumber regions, or "*" for all."""
    sender: str | None = None
    default_locale: str = "en"
    purposes: frozenset[str] | None = None
    """The allowed purposes; None for any."""
    requires: frozenset[str] = frozenset()
    """The members that an issue and a verify must have: `client_ip`, `account`."""
    limits: LimitTable = msgspec.field(default_factory=lambda: DEFAULT_LIMITS)
    relaxed_limits: LimitTable | None = None
    """The limits of calls for fictitious numbers; None for the same, as always in live mode."""
    has_failure_delays: bool = True
    """Whether consecutive failures delay the next attempt before they lock."""
    delivery_letters: bool = False
    """Whether a delivered code may have letters, and up to MAX_LETTER_CODE_CHARS characters."""
    has_risk_check: bool = True
    """Whether the risk service is asked before its sends, if there is one."""
    trusts_known: bool = False
    """Whether a caller may say that a number is known, so that its send draws on no debt."""

    def select_limits(self, phone: PhoneNumber | None) -> "Tenant":
        """Return the tenant with the limits of calls for this number."""
        if self.relaxed_limits is None or phone is None or not phone.is_fictitious:
            return self
        return replace(self, limits=self.relaxed_limits, has_failure_delays=False)

    def check_purpose(self, purpose: str) -> None:
        """Raise Forbidden if the tenant may not use this purpose."""
        if self.purposes is not None and purpose not in self.purposes:
            raise Forbidden("This tenant may not use this purpose. See purposes in its settings.")

    def check_delivered_code(self, code: str) -> None:
        """Raise InvalidRequest unless this code of another product may be sent: no free text."""
        if not self.can_deliver(code):
            raise InvalidRequest(("code", CODE_RULE))

    def can_deliver(self, code: str) -> bool:
        """Whether the tenant may send this code of another product."""
        pattern = LETTER_CODE_PATTERN if self.delivery_letters else DIGIT_CODE_PATTERN
        return re.fullmatch(pattern, code) is not None

    def check_required(self, *, account: str | None, client_ip: str | None) -> None:
        """Raise InvalidRequest with each member that the tenant requires and the call lacks."""
        given = {"account": account, "client_ip": client_ip}
        if errors := [*self.find_missing_members(given)]:
            raise InvalidRequest(*errors)

    def check_known(self, known: object) -> None:
        """Raise InvalidRequest if a call says whether its number is known, and may not."""
        if errors := [*self.find_untrusted_members({"known": known})]:
            raise InvalidRequest(*errors)

    def find_untrusted_members(self, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        """Yield each member of an issue that is only for trusted tenants, with the reason."""
        if given.get("known") is not None and not self.trusts_known:
            yield "known", UNTRUSTED_KNOWN_MESSAGE

    def find_missing_members(self, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        """Yield each member that the tenant requires and a call lacks, with the reason."""
        for member in sorted(self.requires):
            if given.get(member) is None:
                yield member, REQUIRED_MEMBER_MESSAGE


class ApiKey(msgspec.Struct, frozen=True):
    """A key of 256 random bits. Only its SHA-256 is stored: it needs no salt or slow hash."""

    id: str
    tenant: str
    sha256: bytes
    scopes: frozenset[Scope]
    expires_at: int | None = None
    """Milliseconds since 1970."""


def hash_api_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
