"""The hourly totals of a country of a tenant, and the index of all totals."""

from typing import Final

from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS
from otp_service.core.timestamps import DAY_MS, HOUR_MS
from otp_service.store.commit_request import TrafficChange
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.keyspace import Hash
from tests.simulation.redis_model.typed_values import read_fields, read_value


TRAFFIC_TTL_MS: Final = 15 * DAY_MS

_KINDS_OF_TEN_MINUTES: Final = frozenset("ep")


def add_traffic(
    context: CommitContext, traffic: TrafficChange, instant: int, kind: str, amount: int
) -> None:
    """Add to a total. One that is used up is deleted."""
    span_ms = EVIDENCE_SLOT_MS if kind in _KINDS_OF_TEN_MINUTES else HOUR_MS
    field = f"{instant // span_ms}:{kind}".encode()
    fields = dict(read_fields(context.keyspace, context.get_key(traffic.key_index)))
    total = int(fields.get(field, 0)) + amount
    if total > 0:
        fields[field] = b"%d" % total
    else:
        fields.pop(field, None)
    _write_totals(context, traffic, fields)


def note_full_hour(context: CommitContext, traffic: TrafficChange) -> None:
    """Note that the country itself was full in this hour."""
    fields = dict(read_fields(context.keyspace, context.get_key(traffic.key_index)))
    fields[f"{context.now // HOUR_MS}:r".encode()] = b"1"
    _write_totals(context, traffic, fields)


def _write_totals(
    context: CommitContext, traffic: TrafficChange, fields: dict[bytes, bytes]
) -> None:
    """Keep the totals for their time to live, and in the index."""
    keyspace = context.keyspace
    expires_at = context.keyspace.clock() + TRAFFIC_TTL_MS
    keyspace.put(context.get_key(traffic.key_index), Hash(fields), expires_at)
    index_key = context.get_key(traffic.index_key_index)
    index: frozenset[bytes] = read_value(keyspace, index_key, frozenset, frozenset())
    member = traffic.member.encode()
    if member not in index:
        keyspace.replace(index_key, index | {member})
