"""What events call a number or an account: a keyed name, with the id of its key in front (R69)."""

from otp_service.core.keys import Key, Ring


def pseudonym(key: Key, label: str, value: str) -> str:
    """Return the name under one key; `label` is `number` (collapsed) or `account`."""
    return f"{key.id}:{key.mac(label, value.encode())[:16].hex()}"


def pseudonyms(ring: Ring, label: str, value: str) -> frozenset[str]:
    """Return the names under every key, for events outlive the key that named somebody."""
    return frozenset(pseudonym(key, label, value) for key in ring)
