"""What events call a number or an account: a keyed name, with the id of its key in front (R69)."""

from otp_service.core.keys import Key, KeyRing


def derive_pseudonym(key: Key, label: str, value: str) -> str:
    """Return the name under one key; `label` is `number` (collapsed) or `account`."""
    return f"{key.id}:{key.compute_mac(label, value.encode())[:16].hex()}"


def derive_pseudonyms(ring: KeyRing, label: str, value: str) -> frozenset[str]:
    """Return the names under every key, for events outlive the key that named somebody."""
    return frozenset(derive_pseudonym(key, label, value) for key in ring)
