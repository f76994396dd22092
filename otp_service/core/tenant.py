"""Who calls: a tenant, its API keys and what they may do."""

import hashlib
from enum import StrEnum

import msgspec

from otp_service.core.errors import Forbidden
from otp_service.core.limits import DEFAULT_LIMITS, LimitTable


TENANT_NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,31}"


class Scope(StrEnum):
    """What an API key may do."""

    CHALLENGES = "challenges"
    AUDIT = "audit"
    AUDIT_ALL = "audit-all"
    OPERATOR = "operator"


class Tenant(msgspec.Struct, frozen=True):
    """A calling application: how it names itself to people, and what it may send where."""

    name: str
    brand: str
    countries: frozenset[str]
    """libphonenumber regions, or "*" for every one."""
    sender: str | None = None
    default_locale: str = "en"
    purposes: frozenset[str] | None = None
    """The purposes that it may use; None for any."""
    limits: LimitTable = msgspec.field(default_factory=lambda: DEFAULT_LIMITS)

    def check_purpose(self, purpose: str) -> None:
        """Raise Forbidden if codes are not issued for this purpose."""
        if self.purposes is not None and purpose not in self.purposes:
            raise Forbidden("This tenant may not use this purpose. See purposes in its settings.")


class ApiKey(msgspec.Struct, frozen=True):
    """256 random bits, of which only the SHA-256 is kept; that needs no salt or slow hash."""

    id: str
    tenant: str
    sha256: bytes
    scopes: frozenset[Scope]
    expires_at: int | None = None
    """Milliseconds since 1970."""


def hash_api_key(key: str) -> bytes:
    """Return what is kept of an API key."""
    return hashlib.sha256(key.encode()).digest()
