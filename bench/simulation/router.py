"""The service's own router as a policy: its routes, its memory and its order, without the network.

What is simulated here is `sms/memory.py` and `sms/routes.py` themselves; only the walk is the
simulation's, which goes on and ends as `sms/router.py` does.
"""

import random
from collections.abc import Mapping, Sequence

from bench.simulation.policies import (
    Exchange,
    FirstOnly,
    MakePolicy,
    News,
    OrderedFallback,
    Request,
    Routes,
)
from otp_service.sms.memory import Memory, Observation, observations
from otp_service.sms.router import learnt_from, put_off
from otp_service.sms.routes import drawn


class Remembering(FirstOnly):
    """Walks by shares, and away from who is not well."""

    def __init__(self, routes: Routes, seed: int) -> None:
        self._chance = random.Random(seed).random  # noqa: S311  # nobody gains by guessing it
        self._memory = Memory()
        self._shares = {
            country: {choice.provider: choice.weight for choice in route}
            for country, route in routes.items()
        }

    def order(self, request: Request) -> Sequence[str]:
        """Return the providers by what is known of them; who was tried already comes last."""
        now, memory = _milliseconds(request.at), self._memory
        shares = self._shares[request.country]
        order = drawn(shares, lambda name, share: memory.weight(name, share, now), self._chance)
        well = memory.order(order, request.country, now, self._chance())
        return put_off(well, request.earlier)

    def replied(self, exchange: Exchange, before: Sequence[Exchange]) -> None:
        """Learn what the walk has taught with this reply and had not without it."""
        walk = [(one.provider, one.reply) for one in (*before, exchange)]
        about = exchange.request.country, exchange.request.number, _milliseconds(exchange.at)
        known = observations(walk[:-1], *about)
        self._learn([one for one in observations(walk, *about) if one not in known])

    def received(self, news: News) -> None:
        """Learn how good the provider is."""
        request, now = news.exchange.request, _milliseconds(news.at)
        late = _milliseconds(news.at - news.exchange.at)
        seen = learnt_from(
            news.receipt, news.exchange.provider, request.country, request.number, late, now
        )
        self._learn([seen] if seen else [])

    def again(self, request: Request, news: News) -> Sequence[str]:
        """Return everybody but who has just failed."""
        return [name for name in self.order(request) if name != news.exchange.provider]

    def _learn(self, seen: list[Observation]) -> None:
        self._memory, _ = self._memory.after(seen)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


POLICIES: Mapping[str, MakePolicy] = {
    "first only": FirstOnly,
    "ordered fallback": OrderedFallback,
    "this router": Remembering,
}
"""All that are compared."""
