"""What every event has."""

from typing import Any

import msgspec


def build_explicit_default(value: str | int) -> Any:
    """Return a default that is always written; `omit_defaults` omits plain ones."""
    return msgspec.field(default_factory=lambda: value)


class EventFields(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    tenant: str | None = None
    key_id: str | None = None
    request: str | None = None
    trace: str | None = None
    client_ip: str | None = None
    """The address of the person's device, as the caller sent it."""
    purpose: str | None = None
    challenge: str | None = None
    number: str | None = None
    """Keyed pseudonym, after the id of its key."""
    country: str | None = None
    number_suffix: str | None = None
    """The number's last two digits."""
    account: str | None = None
    """Keyed pseudonym."""
    versions: dict[str, str] | None = None
    """Fingerprint of the configuration and ids of the keys in force."""


class Event(EventFields, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    outcome: str = build_explicit_default("success")
    reason: str | None = None

    @property
    def fold_name(self) -> str:
        """The name that events share which may become one event with their count.

        It has the type, or refused resends would be counted as refused verifies, and the API key,
        so that each key that reads or changes something is recorded. An account counts only without
        a number: a caller that varies it would be recorded without a bound otherwise.
        """
        tag, subject = self.__struct_config__.tag, self.number or self.account or ""
        return f"{tag}:{self.tenant}:{self.key_id}:{subject}:{self.reason or ''}"
