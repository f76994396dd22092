"""What the brake on SMS pumping counts as unverified at the end of a run, of the scopes that calls name."""

import ipaddress
from collections.abc import Iterable, Iterator

from otp_service.core.ip_address import client_ip_limit_key
from otp_service.core.phone_number import derive_prefix
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, ScopeBucket, derive_block
from otp_service.store.key_names import KeyNames
from tests.simulation.history import CallRecord, StoredDebt
from tests.simulation.redis_model.commit_script.debt_book import unpack_debt
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.typed_values import read_string
from tests.simulation.world.configuration import FIRST_KEY_IDS, build_keys


DAY_WINDOW = 1


def collect_stored_debts(
    keyspace: Keyspace, calls: Iterable[CallRecord], read_at: int
) -> list[StoredDebt]:
    """Return the debts of each range, operator block and address of an issue, in messages."""
    names = KeyNames(build_keys(FIRST_KEY_IDS).limit.current)
    found = dict(
        bucket for call in calls if call.kind == "issue" for bucket in _list_buckets(names, call)
    )
    return [
        StoredDebt(
            limit=bucket.limit.value,
            subject=tuple(part for part in (bucket.tenant, bucket.subject) if part),
            messages=_read_messages(keyspace, names.debt_key(partition, bucket)),
            read_at=read_at,
        )
        for bucket, partition in found.items()
    ]


def _list_buckets(names: KeyNames, call: CallRecord) -> Iterator[tuple[ScopeBucket, int]]:
    """Yield the scopes of an issue that count messages, each with its partition."""
    number, address = call.arguments.get("phone_number"), call.arguments.get("client_ip")
    shared = names.compute_shared_partition()
    if isinstance(number, str):
        bucket = ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject=derive_prefix(number))
        yield bucket, names.compute_number_partition(number)
        yield ScopeBucket(DebtLimit.UNVERIFIED_BLOCK, subject=derive_block(number)), shared
    if isinstance(address, str):
        network = client_ip_limit_key(ipaddress.ip_address(address))
        yield ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, call.tenant, network), shared


def _read_messages(keyspace: Keyspace, key: str) -> float:
    packed = read_string(keyspace, key.encode())
    if packed is None:
        return 0
    return sum(unpack_debt(packed).windows[DAY_WINDOW].unverified) / MESSAGE_UNITS
