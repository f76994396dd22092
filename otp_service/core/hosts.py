"""Which hosts are this machine: what goes to others has to be encrypted."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether nobody else can reach this address, or listen on the way to it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
