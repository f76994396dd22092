"""Settings for a centre on loopback, and what is often said of them."""

import asyncio

from otp_service.core.delivery import About, Refused
from otp_service.core.errors import StoreUnavailable
from otp_service.core.secret import Secret
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.smpp.pdu_bodies import Address, ShortMessage


RECEIPT = ShortMessage(
    source=Address((1, 1), "447400123456"), esm_class=4, text=b"id:7a2f stat:DELIVRD err:000"
)


def settings(port, **more):
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


def silence(fault, reason):
    """A refusal that nobody has spoken."""
    return Refused(fault, reason, None, About.SILENCE)


class KnownToAll:
    """What Redis is for, in a dictionary; `is_in_doubt` while Redis is away."""

    def __init__(self):
        self.kept = {}
        self.is_in_doubt = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def note(self, provider, name, submitted):
        await self._answers()
        self.kept[provider, name] = submitted

    async def look_up(self, provider, names):
        await self._answers()
        return [self.kept.get((provider, name)) for name in names]

    async def _answers(self):
        await self.may_answer.wait()
        if self.is_in_doubt:
            raise StoreUnavailable
