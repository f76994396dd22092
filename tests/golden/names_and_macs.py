"""Every name and MAC that another process has to arrive at: key names, pseudonyms, tokens, records."""

import inspect
from typing import Any

import msgspec

from otp_service.core.argon2_profile import CHEAPEST
from otp_service.core.challenge import new_id
from otp_service.core.codes import code_hash
from otp_service.core.delivery import Reference
from otp_service.core.limits import NUMBERS_OWN, Bucket, Limit
from otp_service.core.pseudonym import pseudonym
from otp_service.core.tenant import digest
from otp_service.hashing import argon2id
from otp_service.sms.callbacks import Addresses, without_reference
from otp_service.store.key_names import Names
from otp_service.store.record_cipher import Vault
from tests.golden.fixed_inputs import NOW_MS, fixed_bytes, fixed_keys
from tests.golden.samples import CHALLENGE_ID


NUMBER = "+447400123456"


class CalledMethods:
    """Passes calls on, and keeps which methods were called."""

    def __init__(self, target: object) -> None:
        self._target = target
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._target, name)

    def find_uncalled(self) -> set[str]:
        """Return the public methods that were not called."""
        methods = inspect.getmembers(type(self._target), inspect.isfunction)
        return {name for name, _ in methods if not name.startswith("_")} - self.called


def list_key_names(names: Any) -> list[tuple[str, object]]:
    """Return every kind of key name, each with a label; `names` spells them."""
    subject = {limit: NUMBER if limit in NUMBERS_OWN else f"{limit} subject" for limit in Limit}
    listed: list[tuple[str, object]] = [
        ("partition of a number", names.of_number(NUMBER)),
        ("partition of one word", names.partition("one")),
        ("partition of two words", names.partition("one", "two")),
        ("challenge", names.challenge(7, "shop", CHALLENGE_ID)),
        ("secret of a challenge", names.secret(7, "shop", CHALLENGE_ID)),
        ("do-not-send entry", names.blocked(7, NUMBER)),
        ("idempotency record", names.idempotency("shop", "key 1")),
        ("message id of a provider", names.submission("smsc", "id-1")),
        ("provider memory", names.shared()),
        ("lease of the sealer", names.sealer()),
        ("operation", names.operation(63, "0f" * 16)),
        ("log of partition 0", names.log(0)),
        ("log of partition 63", names.log(63)),
    ]
    for limit in Limit:
        for tenant in ("", "shop"):
            bucket = Bucket(limit=limit, tenant=tenant, subject=subject[limit])
            listed.append((f"partition of bucket {limit} of '{tenant}'", names.of_bucket(bucket)))
            listed.append((f"bucket {limit} of '{tenant}'", names.bucket(5, bucket)))
    return listed


def list_macs() -> list[tuple[str, object]]:
    """Return ids, pseudonyms, hashes, tokens and sealed records, each with a label."""
    keys, reference = (
        fixed_keys(),
        Reference(tenant="shop", challenge=CHALLENGE_ID, send=1, place=2),
    )
    addresses = Addresses("https://otp.example.com/", keys.state)
    address = addresses.of("twilio", str(reference))
    vault = Vault(keys, lambda count: fixed_bytes("nonce", count))
    slow = argon2id(CHEAPEST, "012345", fixed_bytes("salt", 16))
    hashed = code_hash(
        keys.pepper.current,
        slow,
        tenant="shop",
        challenge=CHALLENGE_ID,
        purpose="login",
        number=NUMBER,
        deadline=NOW_MS,
    )
    name = "{07}:challenge:shop:" + CHALLENGE_ID
    return [
        ("challenge id", new_id(7, fixed_bytes("id", 16))),
        ("reference of a submission", str(reference)),
        ("pseudonym of a number", pseudonym(keys.pseudonym.current, "number", NUMBER)),
        ("pseudonym of an account", pseudonym(keys.pseudonym.current, "account", "account-1")),
        ("digest of an API key", digest("api-key-1")),
        ("argon2id of a code", slow),
        ("hash of a code", hashed),
        ("callback address with its token", address),
        ("callback address without the reference", without_reference(address)),
        ("MAC of an event", vault.sign(b'{"type":"otp.issued"}')),
        ("version of a record", vault.version(42)),
        ("sealed record", vault.close(name, 42, msgspec.msgpack.encode(["body"]))),
    ]


def format_listed(listed: list[tuple[str, object]]) -> str:
    """Return labels and values, one pair a line; bytes are in hex."""
    lines = []
    for label, value in listed:
        if isinstance(value, bytes):
            shown = value.hex()
        else:
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        lines.append(f"{label}: {shown}\n")
    return "".join(lines)


def spell_with_fixed_key() -> CalledMethods:
    """Return the key names of the installation with the fixed keys."""
    return CalledMethods(Names(fixed_keys().limit.current))
