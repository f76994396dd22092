"""Routes: the providers of a destination, and the order in which they are tried.

    US = ["twilio", "vonage"]                in this order
    "+4474" = { vonage = 70, sinch = 30 }    the first one by chance, in these shares

The longest prefix that matches is used, then the country, then the default.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec

from otp_service.core.phone_number import PhoneNumber


Route = tuple[str, ...] | dict[str, int]
RandomFloat = Callable[[], float]
"""Returns a number from 0 to 1, uniformly distributed."""


class Routes(msgspec.Struct, frozen=True):
    """The table of routes, and the route of destinations that are not in it."""

    default: Route
    table: Mapping[str, Route] = {}

    def find_route(self, phone: PhoneNumber) -> Route:
        prefixes = [key for key in self.table if key[0] == "+" and phone.e164.startswith(key)]
        if prefixes:
            return self.table[max(prefixes, key=len)]
        return self.find_country_route(phone.country)

    def find_country_route(self, country: str) -> Route:
        """Return the route of a country; a prefix of its numbers may have another one."""
        return self.table.get(country, self.default)

    def find_first_provider(self, phone: PhoneNumber) -> str | None:
        """Return the first provider of the route of a number; for its price."""
        return get_first_provider(self.find_route(phone))


def get_first_provider(route: Route) -> str | None:
    """Return the provider that is tried first if none fails, or has the largest share."""
    if isinstance(route, dict):
        return max(route, key=route.__getitem__, default=None)
    return next(iter(route), None)


def draw_provider_order(
    route: Route, compute_weight: Callable[[str, float], float], random_float: RandomFloat
) -> Sequence[str]:
    """Return the providers of a route in the order to try them.

    `compute_weight` returns the present weight of a configured share. Each next provider is drawn by
    the weights of the remaining ones.
    """
    if not isinstance(route, dict):
        return route
    weights = {name: compute_weight(name, share) for name, share in route.items()}
    order = []
    while weights:
        point = random_float() * sum(weights.values())
        ends = itertools.accumulate(weights.values())
        drawn = (name for name, end in zip(weights, ends, strict=True) if point < end)
        order.append(next(drawn, [*weights][-1]))
        del weights[order[-1]]
    return order
