"""Moving the do-not-send list in and out: its entries to JSON lines and back, for the command line.

    {"reason": "opted_out", "phone_number": "+447400123456", "tenant": null, "provider": "twilio",
     "own_number": "447400999001", "at": "2026-11-30T12:00:00.000Z"}

An import needs `phone_number` alone: without the others it is an opt-out from all tenants, as of now. An
error names members of a line and never repeats a value.
"""

from collections.abc import Collection
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendEntry, DoNotSendReason
from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed
from otp_service.core.json_lines import InvalidLine, Members, convert_members, parse_json_line
from otp_service.core.opt_out_scope import MAX_OWN_NUMBER_CHARS, normalize_own_number
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.tenant import TENANT_NAME_PATTERN
from otp_service.core.timestamps import CLOCK_TOLERANCE_MS, format_rfc3339, parse_rfc3339
from otp_service.core.value_rule import build_rule


ProviderName = Annotated[
    str,
    Meta(
        pattern=rf"^({TENANT_NAME_PATTERN})?\Z",
        extra=build_rule("must be the name of a provider: lower-case, digits and hyphens"),
    ),
]

MEMBERS_OF_OPT_OUTS: Final = ("tenant", "provider", "own_number")


class DoNotSendLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members of a line. Its `repr` omits them: they have a number."""

    phone_number: str
    reason: DoNotSendReason = DoNotSendReason.OPTED_OUT
    tenant: str | None = None
    """None for all tenants."""
    provider: ProviderName = ""
    own_number: str = ""
    at: str = ""
    """The instant of the opt-out or the block, as RFC 3339; the time of the import without one."""

    def __repr__(self) -> str:
        return "DoNotSendLine()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("reason", self.reason)]  # msgspec's own would show the number


class ImportedEntry(msgspec.Struct, frozen=True):
    """An entry of the list as a line has it. Its `repr` masks the number."""

    reason: DoNotSendReason
    tenant: str
    """ALL_TENANTS for all, and for a block."""
    phone: PhoneNumber
    entry: DoNotSendEntry


def parse_import_line(text: str, tenants: Collection[str], now: int) -> ImportedEntry:
    """Return the entry of a line. Raises InvalidLine.

    `now` is in milliseconds since 1970.
    """
    members = {name: value for name, value in parse_json_line(text).items() if value is not None}
    line = convert_members(members, DoNotSendLine)
    if line.reason is DoNotSendReason.BLOCKED and members.keys() & set(MEMBERS_OF_OPT_OUTS):
        raise InvalidLine(f"is a block: leave out {', '.join(MEMBERS_OF_OPT_OUTS)}")
    if line.tenant is not None and line.tenant not in tenants:
        raise InvalidLine(f"tenant is not one of the settings: {', '.join(sorted(tenants))}")
    phone = _parse_phone_number(line.phone_number)
    entry = DoNotSendEntry(
        phone.e164, _parse_instant(line.at, now), line.provider, _parse_own_number(line.own_number)
    )
    return ImportedEntry(line.reason, line.tenant or ALL_TENANTS, phone, entry)


def _parse_phone_number(text: str) -> PhoneNumber:
    try:
        return parse_number(text, allow_fictitious=True)
    except NumberNotAllowed:
        raise InvalidLine("phone_number is of a type that takes no SMS") from None
    except InvalidPhoneNumber as error:
        rule = "phone_number must be in strict E.164 form, like +447400123456"
        raise InvalidLine(f"{rule}. {error.problem}") from None


def _parse_instant(text: str, now: int) -> int:
    if not text:
        return now
    try:
        at = parse_rfc3339(text)
    except ValueError:
        raise InvalidLine("at must be a time with its zone, like 2026-11-30T12:00:00Z") from None
    if not 0 <= at <= now + CLOCK_TOLERANCE_MS:
        raise InvalidLine("at must be between 1970 and now")
    return at


def _parse_own_number(text: str) -> str:
    own_number = normalize_own_number(text)
    if text and not own_number:
        rule = f"must have 1 to {MAX_OWN_NUMBER_CHARS} letters and digits"
        raise InvalidLine(f"own_number {rule}")
    return own_number


def export_entry(reason: DoNotSendReason, tenant: str, entry: DoNotSendEntry) -> Members:
    """Return the line of an entry, in the form that an import reads."""
    members: Members = {"reason": reason, "phone_number": entry.number}
    if reason is DoNotSendReason.OPTED_OUT:
        members |= {"tenant": tenant or None, "provider": entry.provider}
        members["own_number"] = entry.own_number
    return members | {"at": format_rfc3339(entry.at)}
