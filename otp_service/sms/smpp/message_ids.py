"""Which message a receipt is about: centres know only their own ids, and write them in two ways.

Many give an id in hexadecimal when they take a message and in decimal in its receipt, or the other
way round. An id that is found so, and not as it stands, counts only if the number is right too:
the decimal 16 of one message is the hexadecimal 10 of another.

What this process has sent it knows at once. A centre brings a receipt over any of our sessions, and
maybe after a restart, so all processes tell each other (core.ports.Submissions).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from otp_service.core.delivery import Receipt
from otp_service.core.ports import Submissions, Submitted
from otp_service.sms.smpp.delivery_receipts import Told


logger = logging.getLogger(__name__)

MOST: Final = 20_000
"""Messages that one process knows by itself; some ten minutes at thirty a second."""


class Ids:
    """The messages of one provider; not their numbers in full, nor their texts.

    `shared` is what all processes know, if they do; Redis in doubt costs what the others would
    have heard.
    """

    def __init__(self, provider: str, shared: Submissions | None = None, most: int = MOST) -> None:
        self._provider = provider
        self._shared = shared
        self._most = most
        self._known: OrderedDict[str, Submitted] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()

    def learn(self, message_id: str, reference: str, number: str) -> None:
        """Note the id of a message at once, and tell the others soon; nobody waits for that."""
        name, submitted = _plain(message_id), Submitted(reference, _tail(number))
        self._known[name] = submitted
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        if self._shared:
            task = asyncio.get_running_loop().create_task(self._tell(self._shared, name, submitted))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def found(self, told: Told) -> Receipt:
        """Return the receipt with our reference, or without one if the message is not known.

        Raises StoreUnavailable if it is not known here, and nobody else can be asked.
        """
        known = await self._looked_up(told.receipt.message_id)
        return replace(told.receipt, reference=_reference(known, told.number))

    async def aclose(self) -> None:
        """Finish telling the others."""
        await asyncio.gather(*self._telling)

    async def _looked_up(self, message_id: str) -> list[Submitted | None]:
        """Return what is known under each form of an id, as it stands first."""
        names = [_plain(message_id), *_other_forms(message_id)]
        here = [self._known.get(name) for name in names]
        if here[0] or not self._shared:
            return here
        shared = await self._shared.look_up(self._provider, names)
        return [mine or others for mine, others in zip(here, shared, strict=True)]

    async def _tell(self, shared: Submissions, name: str, submitted: Submitted) -> None:
        try:
            await shared.note(self._provider, name, submitted)
        except Exception as error:  # noqa: BLE001  # whatever it is, the message has been taken
            # By its name only: its text may hold a number (R68).
            kind = type(error).__name__
            logger.warning("provider %s: a message could not be noted: %s", self._provider, kind)


def _reference(known: list[Submitted | None], number: str) -> str:
    as_it_stands, *other_forms = known
    if as_it_stands:
        return as_it_stands.reference
    for one in other_forms:
        if one and one.ending and one.ending == _tail(number):
            return one.reference
    return ""


def _plain(name: str) -> str:
    return name.strip().lower().removeprefix("0x").lstrip("0")


def _tail(number: str) -> str:
    """Return the end of a number, which is the same however it is written."""
    return number[-4:]


def _other_forms(name: str) -> Iterator[str]:
    plain = _plain(name)
    if plain.isascii() and plain.isdigit():
        yield f"{int(plain):x}"
    try:
        yield str(int(plain, 16))
    except ValueError:
        return
