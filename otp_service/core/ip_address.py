"""IP addresses: of a user's device, as the login back end sends it, and loopback."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from otp_service.core.errors import InvalidRequest


def parse_client_ip(text: str) -> IPv4Address | IPv6Address:
    """Return the address; an IPv4-mapped IPv6 address becomes IPv4.

    Raises InvalidRequest for zones, ports and other invalid addresses.
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
    """Return the subject of limits: IPv4, or the /64 that one IPv6 customer can rotate through (R56)."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


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
