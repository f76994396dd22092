"""The bodies of the three PDUs that have one here: bind_transceiver, submit_sm, deliver_sm."""

from collections.abc import Mapping
from typing import Final, Self

import msgspec

from otp_service.sms.smpp.pdu import BadPdu, Fields, text_field, tlv_fields


VERSION: Final = 0x34
RECEIPT_WANTED: Final = 1
"""registered_delivery (5.2.17): a receipt whether it was delivered or not."""
MOST_OCTETS: Final = 254
"""Of short_message (5.2.22)."""

# 5.2.5 type of number, 5.2.6 numbering plan
UNKNOWN: Final = (0, 0)
INTERNATIONAL: Final = (1, 1)
SHORT_CODE: Final = (3, 0)
NAME: Final = (5, 0)
_LONGEST_SHORT_CODE: Final = 6


class Address(msgspec.Struct, frozen=True):
    """A number or a name, and what it is one of. Its `repr` says only that."""

    kind: tuple[int, int] = UNKNOWN
    text: str = ""

    def __repr__(self) -> str:
        return f"Address({self.kind})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("kind", self.kind)]  # see Pdu

    @classmethod
    def of(cls, sender: str) -> "Address":
        """Return the address of a sender; of none, so that the centre puts in its own."""
        digits = sender.removeprefix("+")
        if not sender:
            return cls()
        if not (digits.isascii() and digits.isdigit()):
            return cls(NAME, sender)
        is_short = digits == sender and len(digits) <= _LONGEST_SHORT_CODE
        return cls(SHORT_CODE if is_short else INTERNATIONAL, digits)

    def encode(self) -> bytes:
        """Return the three fields."""
        return bytes(self.kind) + text_field(self.text, 21)

    @classmethod
    def decode(cls, fields: Fields) -> "Address":
        """Read the three fields."""
        kind = (fields.integer(), fields.integer())
        return cls(kind, fields.text())


class Bind(msgspec.Struct, frozen=True, kw_only=True):
    """bind_transceiver (4.1.5): who we are. It has no `repr` of its own: never log it."""

    system_id: str
    password: str
    system_type: str = ""
    version: int = VERSION
    addresses: Address = Address()
    """Whose messages we want; ours are receipts, which come anyway."""

    def __repr__(self) -> str:
        return "Bind()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # see Pdu

    def encode(self) -> bytes:
        """Return the body; a password may be longer than the 9 octets of 5.2.2, as some are."""
        named = text_field(self.system_id, 65) + text_field(self.password, 65)
        kind, text = bytes(self.addresses.kind), text_field(self.addresses.text, 41)
        return named + text_field(self.system_type, 65) + bytes([self.version]) + kind + text

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        fields = Fields(body)
        system_id, password, system_type = fields.text(), fields.text(), fields.text()
        return cls(
            system_id=system_id,
            password=password,
            system_type=system_type,
            version=fields.integer(),
            addresses=Address.decode(fields),
        )


class ShortMessage(msgspec.Struct, frozen=True, kw_only=True):
    """submit_sm and deliver_sm, which have the same fields (4.4.1, 4.6.1)."""

    service_type: str = ""
    source: Address = Address()
    destination: Address = Address()
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    schedule: str = ""
    validity: str = ""
    registered_delivery: int = 0
    replace_if_present: int = 0
    data_coding: int = 0
    default_message: int = 0
    text: bytes = b""
    tlvs: Mapping[int, bytes] = {}

    def __repr__(self) -> str:
        return f"ShortMessage({len(self.text)} octets)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("octets", len(self.text))]  # see Pdu

    def encode(self) -> bytes:
        """Return the body. Raises ValueError, which says nothing of it, if it does not fit."""
        if len(self.text) > MOST_OCTETS:
            raise ValueError("a text that is too long")
        return b"".join(
            (
                text_field(self.service_type, 6),
                self.source.encode(),
                self.destination.encode(),
                bytes((self.esm_class, self.protocol_id, self.priority)),
                text_field(self.schedule, 17),
                text_field(self.validity, 17),
                bytes((self.registered_delivery, self.replace_if_present, self.data_coding)),
                bytes((self.default_message, len(self.text))),
                self.text,
                tlv_fields(self.tlvs),
            )
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body. Raises BadPdu for what is none."""
        fields = Fields(body)
        return cls(
            service_type=fields.text(),
            source=Address.decode(fields),
            destination=Address.decode(fields),
            esm_class=fields.integer(),
            protocol_id=fields.integer(),
            priority=fields.integer(),
            schedule=fields.text(),
            validity=fields.text(),
            registered_delivery=fields.integer(),
            replace_if_present=fields.integer(),
            data_coding=fields.integer(),
            default_message=fields.integer(),
            text=fields.octets(fields.integer()),
            tlvs=fields.tlvs(),
        )


def message_id(body: bytes) -> str:
    """Return the centre's name for a message, from a submit_sm_resp (4.4.2); empty if none."""
    try:
        return Fields(body).text()
    except BadPdu:
        return ""


def for_seconds(seconds: int) -> str:
    """Return a validity_period (5.2.16) from now on, in the relative form (7.1.1.2).

    So it does not matter what the centre's clock says.
    """
    minutes, second = divmod(max(1, seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(min(hours, 99 * 24), 24)
    return f"0000{days:02}{hour:02}{minute:02}{second:02}000R"
