"""An event of the log, as far as a replay reads it."""

from typing import Annotated

import msgspec


MAX_MICRO_UNITS = 2**40
MAX_SENDS = 1000


class LoggedEvent(msgspec.Struct, kw_only=True):
    """The members of an event that a replay reads, as its worker wrote them; missing ones are empty."""

    type: str
    at: int = 0
    """Milliseconds since 1970."""
    tenant: str = ""
    challenge: str = ""
    number: str = ""
    country: str = ""
    client_ip: str | None = None
    """As limits count it: an IPv6 address is its /64."""
    prefix: str = ""
    block: str = ""
    price: Annotated[int, msgspec.Meta(ge=0, le=MAX_MICRO_UNITS)] | None = None
    measure: str = ""
    over_limit: str = ""
    limit: str = ""
    reason: str = ""
    provider: str = ""
    fault: str = ""
    state: str = ""
    send: Annotated[int, msgspec.Meta(ge=0, le=MAX_SENDS)] = 0
    repeated: bool = False
    folded: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How many refusals it counts."""
