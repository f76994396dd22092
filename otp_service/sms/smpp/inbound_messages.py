"""Messages from phones in a deliver_sm (4.6.1) or data_sm: all that is not a receipt, of the default type.

The sender of one is the phone, if its type of number (5.2.5) is international, or unknown as some SMSCs
leave it. A national number without its country could be that of a person in another one, and a name is no
person at all: such a sender is empty, which the service counts as `invalid_sender`. The SMSC has to be set
to send international numbers.
"""

from typing import Final, NamedTuple

from otp_service.core.inbound import InboundMessage
from otp_service.sms.provider_callbacks import SkippedEvent
from otp_service.sms.smpp.pdu import InvalidPduError
from otp_service.sms.smpp.pdu_bodies import (
    INTERNATIONAL_TYPE,
    PERSON_MESSAGE_TYPE,
    UNKNOWN_TYPE,
    ShortMessage,
    SmppAddress,
)
from otp_service.sms.smpp.text_codec import decode_text
from otp_service.sms.smpp.user_data import Segment, find_segment, split_user_data


_PERSON_NUMBER_TYPES: Final = {INTERNATIONAL_TYPE[0], UNKNOWN_TYPE[0]}


class MessagePart(NamedTuple):
    """A message from a phone, or one part of it."""

    message: InboundMessage
    """With the text of this part."""
    segment: Segment | None = None
    """None for a whole message."""


def parse_message_part(short_message: ShortMessage) -> MessagePart | SkippedEvent:
    """Return the message in a deliver_sm that is not a receipt.

    OTHER for another type, as an acknowledgement by the phone. UNREADABLE for an invalid header.
    """
    if short_message.message_type != PERSON_MESSAGE_TYPE:
        return SkippedEvent.OTHER
    try:
        user_data = split_user_data(short_message)
    except InvalidPduError:
        return SkippedEvent.UNREADABLE
    coding, is_turkish = short_message.data_coding, user_data.is_turkish
    message = InboundMessage(
        sender=_select_sender(short_message.source),
        text=decode_text(coding, user_data.octets, is_turkish=is_turkish),
        receiver=short_message.destination.text,
        is_signed=True,  # the session is authenticated
    )
    return MessagePart(message, find_segment(user_data, short_message))


def _select_sender(source: SmppAddress) -> str:
    is_whole = source.text.startswith("+") or source.ton_npi[0] in _PERSON_NUMBER_TYPES
    return source.text if is_whole else ""
