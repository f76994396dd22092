"""Fixed codes: fictitious numbers whose code is the same each time, in development and test mode.

A test that cannot read the inbox, such as a recorded one, types a code that it knows. Only the draw is
different: the code is hashed, stored, sent to the inbox, limited and compared as any other. No phone has
such a number, and live mode refuses them, so a fixed code opens no account of a person.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from otp_service.core.codes import normalize_code
from otp_service.core.errors import InvalidPhoneNumber, MalformedCode
from otp_service.core.phone_number import PhoneNumber, classify_number


class FixedCodes(msgspec.Struct, frozen=True):
    """Numbers in E.164 with their codes. Its `repr` shows neither."""

    codes: dict[str, str] = {}

    @classmethod
    def from_table(cls, table: Any) -> "FixedCodes":
        """Return the codes of a table of texts, checked or not. Raises TypeError for anything else."""
        if not isinstance(table, dict):
            raise TypeError("fixed codes must be a table")
        if not all(isinstance(text, str) for text in (*table.keys(), *table.values())):
            raise TypeError("fixed codes must be texts")
        return cls(dict(table))

    def get_code(self, phone: PhoneNumber) -> str | None:
        """Return the code of a number; None if it is not listed, and always if it is real."""
        return self.codes.get(phone.e164) if phone.is_fictitious else None

    def find_errors(self, digits: int) -> Iterator[str]:
        """Yield what is wrong with each entry, by its position: its number may be of a person."""
        for position, (number, code) in enumerate(self.codes.items(), start=1):
            if not _is_fictitious_number(number):
                yield f"entry {position} needs a fictitious number, like +447700900123"
            if not _is_code(code, digits):
                yield f"entry {position} needs a code of {digits} ASCII digits"

    def __len__(self) -> int:
        return len(self.codes)

    def __str__(self) -> str:
        if not self.codes:
            return ""
        return "of 1 number" if len(self) == 1 else f"of {len(self)} numbers"

    def __repr__(self) -> str:
        return f"FixedCodes({self})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # The default of msgspec shows the codes in pretty tracebacks.
        return [("numbers", len(self))]


def _is_fictitious_number(text: str) -> bool:
    try:
        phone, _ = classify_number(text)
    except InvalidPhoneNumber:
        return False
    return phone.is_fictitious


def _is_code(text: str, digits: int) -> bool:
    try:
        return normalize_code(text, digits) == text
    except MalformedCode:
        return False
