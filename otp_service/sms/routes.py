"""Which providers a destination has, and in which order they are tried.

    US = ["twilio", "vonage"]                in this order
    "+4474" = { vonage = 70, sinch = 30 }    the first one by chance, in these shares

The longest prefix that fits comes first, then the country, then the default.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec

from otp_service.core.phone_number import PhoneNumber


Route = tuple[str, ...] | dict[str, int]
RandomFloat = Callable[[], float]
"""Gives a number from 0 to 1, each as likely as any other."""


class Routes(msgspec.Struct, frozen=True):
    """The table, and the way for everybody who is not in it."""

    default: Route
    table: Mapping[str, Route] = {}

    def find_route(self, phone: PhoneNumber) -> Route:
        """Return the route for a destination."""
        fitting = [one for one in self.table if one[0] == "+" and phone.e164.startswith(one)]
        if fitting:
            return self.table[max(fitting, key=len)]
        return self.table.get(phone.country, self.default)


def draw_provider_order(
    route: Route, compute_weight: Callable[[str, float], float], random_float: RandomFloat
) -> Sequence[str]:
    """Return the providers of a route in the order to try them.

    `weight` says what a configured share is worth now. Whoever is not drawn first is drawn next, by
    the shares of those that are left.
    """
    if not isinstance(route, dict):
        return route
    left = {name: compute_weight(name, share) for name, share in route.items()}
    order = []
    while left:
        point = random_float() * sum(left.values())
        ends = itertools.accumulate(left.values())
        name = next((one for one, end in zip(left, ends, strict=True) if point < end), [*left][-1])
        order.append(name)
        del left[name]
    return order
