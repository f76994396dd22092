"""IP addresses: of the person, as the calling back end reports it, and of this machine."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from otp_service.core.errors import InvalidRequest


def parse_client_ip(text: str) -> IPv4Address | IPv6Address:
    """Return the address; one that is mapped into IPv6 counts as IPv4.

    Raises InvalidRequest for zones, ports and anything else that is no address.
    """
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidRequest(("client_ip", "must be an IPv4 or IPv6 address")) from error
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise InvalidRequest(("client_ip", "must be an address without a zone"))
        return address.ipv4_mapped or address
    return address


def client_ip_limit_key(address: IPv4Address | IPv6Address) -> str:
    """Return what limits count by: an IPv6 customer has a whole /64 to rotate through (R56)."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def is_loopback(host: str) -> bool:
    """Whether nobody else can reach this address, or listen on the way to it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
