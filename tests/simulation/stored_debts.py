"""What the brake on SMS pumping counts as unverified at the end of a run, of the scopes that calls name."""

import ipaddress
from collections.abc import Iterable, Iterator

from otp_service.core.ip_address import client_ip_limit_key
from otp_service.core.phone_number import derive_prefix
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, ScopeBucket, derive_block
from otp_service.store.key_names import KeyNames
from tests.simulation.auditor.limit_subjects import COUNTRY_CODES
from tests.simulation.history import CallRecord, StoredDebt
from tests.simulation.redis_model.commit_script.debt_book import unpack_debt
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.typed_values import read_string
from tests.simulation.world.configuration import FIRST_KEY_IDS, build_configuration, build_keys


DAY_WINDOW = 1


def collect_stored_debts(
    keyspace: Keyspace, calls: Iterable[CallRecord], read_at: int
) -> list[StoredDebt]:
    """Return the debts of each range, operator block, country and address of an issue, in messages."""
    names = KeyNames(build_keys(FIRST_KEY_IDS).limit.current)
    found = dict(
        bucket for call in calls if call.kind == "issue" for bucket in _list_buckets(names, call)
    )
    return [
        StoredDebt(
            limit=bucket.limit.value,
            subject=tuple(part for part in (bucket.tenant, bucket.subject) if part),
            messages=_read_unverified(keyspace, names.debt_key(partition, bucket))
            / _measure(bucket),
            read_at=read_at,
        )
        for bucket, partition in found.items()
    ]


def _measure(bucket: ScopeBucket) -> int:
    """Return what one message is in the unit of a scope: a country counts the price, the same for all."""
    if bucket.limit is not DebtLimit.UNVERIFIED_COUNTRY:
        return MESSAGE_UNITS
    return build_configuration().prices.find_price(bucket.subject, None)


def _list_buckets(names: KeyNames, call: CallRecord) -> Iterator[tuple[ScopeBucket, int]]:
    """Yield the scopes of an issue, each with its partition: the budget of the day and new countries apart."""
    number, address = call.arguments.get("phone_number"), call.arguments.get("client_ip")
    shared = names.compute_shared_partition()
    if isinstance(number, str):
        bucket = ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject=derive_prefix(number))
        yield bucket, names.compute_number_partition(number)
        yield ScopeBucket(DebtLimit.UNVERIFIED_BLOCK, subject=derive_block(number)), shared
        if country := COUNTRY_CODES.get(number[:3]):
            yield ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, call.tenant, country), shared
    if isinstance(address, str):
        network = client_ip_limit_key(ipaddress.ip_address(address))
        yield ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, call.tenant, network), shared


def _read_unverified(keyspace: Keyspace, key: str) -> int:
    packed = read_string(keyspace, key.encode())
    if packed is None:
        return 0
    return sum(unpack_debt(packed).windows[DAY_WINDOW].unverified)
