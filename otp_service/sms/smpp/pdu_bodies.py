"""The bodies of bind_transceiver, submit_sm, deliver_sm and data_sm."""

from collections.abc import Mapping
from typing import Final, Self

import msgspec

from otp_service.sms.smpp.pdu import BodyReader, encode_c_string, encode_tlvs


INTERFACE_VERSION: Final = 0x34
REGISTERED_DELIVERY_RECEIPT: Final = 1
"""registered_delivery (5.2.17): a receipt for success and failure."""
MAX_SHORT_MESSAGE_OCTETS: Final = 254
"""Of short_message (5.2.22)."""

# 5.2.5 type of number, 5.2.6 numbering plan
UNKNOWN_TYPE: Final = (0, 0)
INTERNATIONAL_TYPE: Final = (1, 1)
SHORT_CODE_TYPE: Final = (3, 0)
ALPHANUMERIC_TYPE: Final = (5, 0)
_MAX_SHORT_CODE_DIGITS: Final = 6

# 5.2.12: the type of message in a deliver_sm
_MESSAGE_TYPE_MASK: Final = 0x3C
PERSON_MESSAGE_TYPE: Final = 0x00
"""The default: a message from a phone, and at some SMSCs a receipt."""


class SmppAddress(msgspec.Struct, frozen=True):
    """A number or a name, and its type. Its `repr` has the type only."""

    ton_npi: tuple[int, int] = UNKNOWN_TYPE
    text: str = ""

    def __repr__(self) -> str:
        return f"SmppAddress({self.ton_npi})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("kind", self.ton_npi)]  # see Pdu

    @classmethod
    def from_sender_id(cls, sender_id: str) -> "SmppAddress":
        """Return the address of a sender; an empty one, so that the SMSC uses its own, for none."""
        digits = sender_id.removeprefix("+")
        if not sender_id:
            return cls()
        if not (digits.isascii() and digits.isdigit()):
            return cls(ALPHANUMERIC_TYPE, sender_id)
        is_short = digits == sender_id and len(digits) <= _MAX_SHORT_CODE_DIGITS
        return cls(SHORT_CODE_TYPE if is_short else INTERNATIONAL_TYPE, digits)

    def encode(self) -> bytes:
        return bytes(self.ton_npi) + encode_c_string(self.text, 21)

    @classmethod
    def decode(cls, fields: BodyReader) -> "SmppAddress":
        kind = (fields.read_integer(), fields.read_integer())
        return cls(kind, fields.read_c_string())


class BindRequest(msgspec.Struct, frozen=True, kw_only=True):
    """bind_transceiver (4.1.5): our credentials. Its `repr` is empty."""

    system_id: str
    password: str
    system_type: str = ""
    interface_version: int = INTERFACE_VERSION
    address_range: SmppAddress = SmppAddress()
    """Recipients of inbound messages; receipts are sent anyway."""

    def __repr__(self) -> str:
        return "BindRequest()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # see Pdu

    def encode(self) -> bytes:
        """Return the body; a password may exceed the 9 octets of 5.2.2, as some do."""
        names = (self.system_id, self.password, self.system_type)
        address_range = self.address_range
        return (
            b"".join(encode_c_string(name, 65) for name in names)
            + bytes([self.interface_version, *address_range.ton_npi])
            + encode_c_string(address_range.text, 41)
        )


class ShortMessage(msgspec.Struct, frozen=True, kw_only=True):
    """submit_sm and deliver_sm, which have the same fields (4.4.1, 4.6.1)."""

    service_type: str = ""
    source: SmppAddress = SmppAddress()
    destination: SmppAddress = SmppAddress()
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

    @property
    def message_type(self) -> int:
        return self.esm_class & _MESSAGE_TYPE_MASK

    def encode(self) -> bytes:
        """Return the body. Raises ValueError, whose text omits it, if a field is too long."""
        if len(self.text) > MAX_SHORT_MESSAGE_OCTETS:
            raise ValueError("a text that is too long")
        return b"".join(
            (
                encode_c_string(self.service_type, 6),
                self.source.encode(),
                self.destination.encode(),
                bytes((self.esm_class, self.protocol_id, self.priority)),
                encode_c_string(self.schedule, 17),
                encode_c_string(self.validity, 17),
                bytes((self.registered_delivery, self.replace_if_present, self.data_coding)),
                bytes((self.default_message, len(self.text))),
                self.text,
                encode_tlvs(self.tlvs),
            )
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Raises InvalidPduError."""
        fields = BodyReader(body)
        return cls(
            service_type=fields.read_c_string(),
            source=SmppAddress.decode(fields),
            destination=SmppAddress.decode(fields),
            esm_class=fields.read_integer(),
            protocol_id=fields.read_integer(),
            priority=fields.read_integer(),
            schedule=fields.read_c_string(),
            validity=fields.read_c_string(),
            registered_delivery=fields.read_integer(),
            replace_if_present=fields.read_integer(),
            data_coding=fields.read_integer(),
            default_message=fields.read_integer(),
            text=fields.read_octets(fields.read_integer()),
            tlvs=fields.read_tlvs(),
        )


def decode_data_sm(body: bytes) -> ShortMessage:
    """Return a data_sm (4.7.1), whose text is an optional parameter. Raises InvalidPduError."""
    fields = BodyReader(body)
    return ShortMessage(
        service_type=fields.read_c_string(),
        source=SmppAddress.decode(fields),
        destination=SmppAddress.decode(fields),
        esm_class=fields.read_integer(),
        registered_delivery=fields.read_integer(),
        data_coding=fields.read_integer(),
        tlvs=fields.read_tlvs(),
    )


def parse_message_id(body: bytes) -> str:
    """Return the message_id of a submit_sm_resp (4.4.2); empty without one.

    Some SMSCs leave its NUL out.
    """
    octets, _, _ = body.partition(b"\0")
    return octets.decode("latin-1")


def format_validity_period(seconds: int) -> str:
    """Return a validity_period (5.2.16) in the relative form (7.1.1.2).

    So the SMSC's clock does not matter.
    """
    minutes, second = divmod(max(1, seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(min(hours, 99 * 24), 24)
    return f"0000{days:02}{hour:02}{minute:02}{second:02}000R"
