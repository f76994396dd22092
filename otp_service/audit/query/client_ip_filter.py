"""The filter for one client IP, which counts addresses as limits do: IPv6 by /64.

An address that embeds an IPv4 address (NAT64, Teredo, 6to4) counts as that one.
"""

from functools import cached_property
from ipaddress import IPv6Address
from typing import Final

import msgspec

from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip


EMBEDDED_IPV4_STARTS: Final = ("64:ff9b:", "2002:", "2001:0:", "2001::", "::")
"""How IPv6 addresses begin, as text, that can embed an IPv4 address (`find_embedded_ipv4`)."""


class ClientIpFilter(msgspec.Struct, frozen=True, dict=True):
    """Matches the addresses that limits count as this one."""

    limit_key: str
    """An IPv4 address, or an IPv6 network of 64 bits."""

    def matches(self, address: str | None) -> bool:
        """Whether an event's member is this address; invalid ones match nothing."""
        if address is None:
            return False
        try:
            return client_ip_limit_key(parse_client_ip(address)) == self.limit_key
        except InvalidRequest:
            return False

    @cached_property
    def required_words(self) -> list[bytes]:
        """Texts of which a matching line has one.

        Only the groups before the first that is zero are sure to be written: `::` may follow.
        """
        network, _, prefix_bits = self.limit_key.partition("/")
        if not prefix_bits:
            starts = (f'"{self.limit_key}"', *(f'"{start}' for start in EMBEDDED_IPV4_STARTS))
            return [start.encode() for start in starts]
        groups = [int(group, 16) for group in IPv6Address(network).exploded.split(":")[:4]]
        written = groups[: groups.index(0)] if 0 in groups else groups
        if not written:
            return [b'"0:', b'"::']
        return [('"' + "".join(f"{group:x}:" for group in written)).encode()]


def parse_client_ip_filter(text: str) -> ClientIpFilter:
    """Return the filter of an address, or of an IPv6 /64 as statistics name it.

    Raises InvalidRequest.
    """
    address, slash, prefix_bits = text.partition("/")
    parsed = parse_client_ip(address)
    key = client_ip_limit_key(parsed)
    if slash and f"{parsed}/{prefix_bits}" != key:
        raise InvalidRequest(("client_ip", "must be an address, or an IPv6 network of 64 bits"))
    return ClientIpFilter(key)
