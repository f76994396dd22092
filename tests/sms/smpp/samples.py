"""Settings for an SMSC on loopback, and refusals that many tests expect."""

import asyncio

from otp_service.core.delivery import RefusalScope, Refused
from otp_service.core.errors import StoreUnavailable
from otp_service.core.secret import Secret
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.smpp.pdu import BodyReader, encode_c_string, encode_tlvs
from otp_service.sms.smpp.pdu_bodies import BindRequest, ShortMessage, SmppAddress
from otp_service.sms.smpp.user_data import MESSAGE_PAYLOAD


DELIVERED_RECEIPT = ShortMessage(
    source=SmppAddress((1, 1), "447400123456"), esm_class=4, text=b"id:7a2f stat:DELIVRD err:000"
)


def decode_bind(body):
    """The bind_transceiver in a body, which only an SMSC has to read."""
    fields = BodyReader(body)
    return BindRequest(
        system_id=fields.read_c_string(),
        password=fields.read_c_string(),
        system_type=fields.read_c_string(),
        interface_version=fields.read_integer(),
        address_range=SmppAddress.decode(fields),
    )


def build_settings(port, **more):
    """Its settings; a test that waits for a timeout says for which."""
    given = {
        "host": "127.0.0.1",
        "port": port,
        "system_id": "tester",
        "password": Secret("s3cret"),
        "sender": "Example",
        "connect_timeout": 10.0,
        "reply_timeout": 10.0,
    }
    return Smpp(**(given | more))


def build_silence_refusal(fault, reason):
    """A refusal without a response."""
    return Refused(fault, reason, None, RefusalScope.SILENCE)


def encode_data_sm(short_message):
    """The same as a data_sm, from the specification (4.7.1)."""
    return b"".join(
        (
            encode_c_string(short_message.service_type, 6),
            short_message.source.encode(),
            short_message.destination.encode(),
            bytes((short_message.esm_class, 0, short_message.data_coding)),
            encode_tlvs({MESSAGE_PAYLOAD: short_message.text} | dict(short_message.tlvs)),
        )
    )


class FakeMessageIdIndex:
    """What Redis is for, in a dictionary; `is_unavailable` while Redis is away."""

    def __init__(self):
        self.records = {}
        self.is_unavailable = False
        self.released = asyncio.Event()
        self.released.set()

    async def put(self, provider, message_id, record):
        await self._require_available()
        self.records[provider, message_id] = record

    async def get_many(self, provider, message_ids):
        await self._require_available()
        return [self.records.get((provider, name)) for name in message_ids]

    async def _require_available(self):
        await self.released.wait()
        if self.is_unavailable:
            raise StoreUnavailable
