"""Pseudonyms of numbers and accounts in events: the id of a key, and a keyed hash (R69)."""

from otp_service.core.keys import Key, KeyRing


def derive_pseudonym(key: Key, label: str, value: str) -> str:
    """Return the pseudonym under one key. `label` is `number` (of a collapsed number) or `account`."""
    return f"{key.id}:{key.compute_mac(label, value.encode())[:16].hex()}"


def derive_pseudonyms(ring: KeyRing, label: str, value: str) -> frozenset[str]:
    """Return the pseudonyms under every key, because events outlive the key of their pseudonym."""
    return frozenset(derive_pseudonym(key, label, value) for key in ring)
