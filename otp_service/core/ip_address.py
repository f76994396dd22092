"""IP addresses: of a user's device, as the login back end sends it, and loopback.

A translator or a tunnel between IPv6 and IPv4 writes the IPv4 address of the device into an IPv6
address. All of its users share a /64, so limits count the IPv4 address instead.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from otp_service.core.errors import InvalidRequest


CLIENT_IP_RULE: Final = (
    "must be an IPv4 or IPv6 address like 203.0.113.9, without a port, a zone or brackets"
)
IPV4_IN_LAST_32_BITS: Final = tuple(
    map(
        IPv6Network,
        (
            "64:ff9b::/96",  # NAT64, the well-known prefix (RFC 6052 §2.1)
            "::ffff:0:0/96",  # IPv4-mapped (RFC 4291 §2.5.5.2)
            "::ffff:0:0:0/96",  # SIIT, IPv4-translated (RFC 2765 §2.1)
            "::/96",  # IPv4-compatible (RFC 4291 §2.5.5.1), deprecated
        ),
    )
)
LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""Prefixes of any length of RFC 6052 that a network chooses for its own NAT64 (RFC 8215)."""
NO_HOST_BELOW: Final = 1 << 24
"""0.0.0.0/8 contains no host: `::1` is loopback and not the IPv4-compatible address 0.0.0.1."""


def parse_client_ip(text: str) -> IPv4Address | IPv6Address:
    """Return the address; an IPv4-mapped IPv6 address becomes IPv4.

    Raises InvalidRequest for zones, ports and other invalid addresses.
    """
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidRequest(("client_ip", CLIENT_IP_RULE)) from error
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise InvalidRequest(("client_ip", CLIENT_IP_RULE))
        return address.ipv4_mapped or address
    return address


def is_ip_address(text: str) -> bool:
    """Whether the text is an address, and not a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def client_ip_limit_key(address: IPv4Address | IPv6Address) -> str:
    """Return the subject of limits: IPv4, or the /64 that one IPv6 customer can rotate through (R56).

    An IPv6 address that carries the IPv4 address of the device counts as that.
    """
    if isinstance(address, IPv4Address):
        return str(address)
    embedded = find_embedded_ipv4(address)
    return str(embedded or IPv6Network((address, 64), strict=False))


def is_other_client_ip(one: str | None, other: str | None) -> bool | None:
    """Return whether two client IPs differ as limits count them; None if one of them is unknown.

    Both are addresses that `parse_client_ip` accepts.
    """
    if one is None or other is None:
        return None
    return client_ip_limit_key(parse_client_ip(one)) != client_ip_limit_key(parse_client_ip(other))


def find_embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address of the device that a translator or a tunnel has written into this one.

    ISATAP (RFC 5214) is not decoded: the address follows the prefix of one site, and is often private,
    so sites would share a bucket. Prefixes that a network chooses from its own range for NAT64 cannot
    be recognised.
    """
    if address.sixtofour is not None:  # 2002::/16 (RFC 3056)
        return address.sixtofour
    if address.teredo is not None:  # 2001::/32 (RFC 4380): the server, and the client behind NAT
        return address.teredo[1]
    if address in LOCAL_NAT64:
        ipv4 = _decode_rfc6052(int(address))
    elif any(address in network for network in IPV4_IN_LAST_32_BITS):
        ipv4 = int(address) & 0xFFFF_FFFF
    else:
        return None
    return IPv4Address(ipv4) if ipv4 >= NO_HOST_BELOW else None


def _decode_rfc6052(value: int) -> int:
    """Return the IPv4 address behind a prefix of 48, 56, 64 or 96 bits (RFC 6052 §2.2).

    The first three skip bits 64 to 71, which are 0, and end in zeros. An address that fits none of
    them has the IPv4 address at its end.
    """
    if value >> 56 & 0xFF == 0:
        joined = value >> 64 << 56 | value & (1 << 56) - 1  # without bits 64 to 71
        for prefix_bits in (48, 56, 64):
            suffix_bits = 120 - prefix_bits - 32
            ipv4 = joined >> suffix_bits & 0xFFFF_FFFF
            if joined & (1 << suffix_bits) - 1 == 0 and ipv4 >= NO_HOST_BELOW:
                return ipv4
    return value & 0xFFFF_FFFF


def is_wildcard(host: str) -> bool:
    """Whether a listener at this host is reached at every address of the machine."""
    try:
        return ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host and read the traffic to it."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
