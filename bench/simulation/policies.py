"""Who decides which provider gets a message: what such a policy is told, and two plain ones.

A policy sees what a router in production would see, and no more: it does not know of outages, of
numbers that reach nobody, or of what became of a message without a receipt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from otp_service.core.delivery import Receipt, Reply


class Choice(msgspec.Struct, frozen=True):
    """A provider on a route, and the share that the operator would give it by weight."""

    provider: str
    weight: int


Routes = Mapping[str, tuple[Choice, ...]]
"""For each country the providers in the operator's order, the favourite first."""


class Request(msgspec.Struct, frozen=True):
    """One send for which a provider is to be chosen: a first one, a resend, or after a receipt."""

    at: float
    """Seconds on the simulation's clock, as everywhere here."""
    challenge: int
    """The same for all sends of one login."""
    number: str
    country: str
    earlier: tuple[str, ...] = ()
    """The providers that earlier sends of this challenge were submitted to, in order."""


class Exchange(msgspec.Struct, frozen=True):
    """One submission and what was answered."""

    request: Request
    provider: str
    reply: Reply
    at: float
    """When it was answered."""
    seconds: float
    """How long that took."""


class News(msgspec.Struct, frozen=True):
    """A trusted receipt, and the submission that it speaks of."""

    exchange: Exchange
    receipt: Receipt
    at: float


class Policy(Protocol):
    """Chooses, and learns from what it is told. Calls come in the order of their times."""

    def order(self, request: Request) -> Sequence[str]:
        """Return the providers to walk, the first to be tried first; an empty one sends nothing.

        The walk is the router's: it ends with an acceptance or a recipient's fault, after three
        submissions, or after 8 s.
        """

    def replied(self, exchange: Exchange, before: Sequence[Exchange]) -> None:
        """Take in a reply; `before` are the other exchanges of the same walk, in order."""

    def received(self, news: News) -> None:
        """Take in a receipt, whatever it says."""

    def again(self, request: Request, news: News) -> Sequence[str]:
        """Return the providers to walk for one send more, now; none if there is to be none.

        Asked after `received`, and only when the service would allow it: the receipt says
        technical-failure and is about the newest code, no code was verified, 60 s remain, and the
        challenge has had no such send. Caps across challenges are the policy's.
        """

    def verified(self, request: Request, provider: str, at: float) -> None:
        """Take in, for display only, that the code of this send came back; it may move nothing."""


MakePolicy = Callable[[Routes, int], Policy]
"""A policy is made for one day, from the routes and a seed for what it leaves to chance."""


class FirstOnly:
    """The favourite of each country, and nobody else."""

    def __init__(self, routes: Routes, seed: int) -> None:
        del seed  # nothing here is left to chance
        self._orders = {
            country: tuple(choice.provider for choice in route) for country, route in routes.items()
        }

    def order(self, request: Request) -> Sequence[str]:
        """Return the favourite."""
        return self._orders[request.country][:1]

    def replied(self, exchange: Exchange, before: Sequence[Exchange]) -> None:
        """Learn nothing."""

    def received(self, news: News) -> None:
        """Learn nothing."""

    def again(self, request: Request, news: News) -> Sequence[str]:
        """Send nothing more."""
        del request, news
        return ()

    def verified(self, request: Request, provider: str, at: float) -> None:
        """Show nothing."""


class OrderedFallback(FirstOnly):
    """The whole list in the operator's order, each time from its top."""

    def order(self, request: Request) -> Sequence[str]:
        """Return all of them."""
        return self._orders[request.country]
