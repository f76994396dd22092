"""Which message a receipt is about: centres know only their own ids, and write them in two ways.

Many give an id in hexadecimal when they take a message and in decimal in its receipt, or the other
way round. An id that is found so, and not as it stands, counts only if the number is right too:
the decimal 16 of one message is the hexadecimal 10 of another.
"""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec.structs import replace

from otp_service.core.delivery import Receipt
from otp_service.sms.smpp.receipts import Told


MOST = 20_000
"""Messages whose receipts can be told apart; some ten minutes at thirty a second."""


class Ids:
    """Remembers the newest messages of one provider; not their numbers in full, nor their texts."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def learn(self, message_id: str, reference: str, number: str) -> None:
        """Note the id of a message."""
        self._known[_plain(message_id)] = (reference, _tail(number))
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def found(self, told: Told) -> Receipt:
        """Return the receipt with our reference, or without one if the message is not known."""
        return replace(told.receipt, reference=self._reference(told))

    def _reference(self, told: Told) -> str:
        name = told.receipt.message_id
        if known := self._known.get(_plain(name)):
            return known[0]
        for other in _other_forms(name):
            known = self._known.get(other)
            if known and known[1] and known[1] == _tail(told.number):
                return known[0]
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
