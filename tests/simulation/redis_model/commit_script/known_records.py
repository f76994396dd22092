"""The records of known numbers: the id of the limit key, the verification, and unpaid exempt sends."""

import msgspec

from otp_service.core.pumping.known_number import KNOWN_NUMBER_TTL_MS, KnownNumber
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.typed_values import read_string


_encode_record = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(list[str | int]).decode

Record = list[str | int]


def read_record(context: CommitContext, key_index: int) -> Record | None:
    """Return the record of a key; None for no index and without a record."""
    packed = read_string(context.keyspace, context.get_key(key_index)) if key_index else None
    return _decode_record(packed) if packed else None


def to_known_number(record: Record) -> KnownNumber:
    """Return what the record says, without the id of the limit key."""
    verified_at, *unpaid_at = map(int, record[1:])
    return KnownNumber(verified_at, tuple(unpaid_at))


def write_record(context: CommitContext, key_index: int, *unpaid_at: int) -> None:
    """Write the record of a number that is known from now on."""
    record = [context.request.limit_key_id, context.now, *unpaid_at]
    key = context.get_key(key_index)
    context.call.put_for(key, _encode_record(record), KNOWN_NUMBER_TTL_MS)


def note_exempt_send(context: CommitContext, key_index: int, known: Record | None) -> None:
    """Note a send of now. The record is new if a caller has said that the number is known."""
    if known is None:
        write_record(context, key_index, context.now)
    else:
        packed = _encode_record([*known, context.now])
        context.keyspace.replace(context.get_key(key_index), packed)


def remove_exempt_send(
    context: CommitContext, key_index: int, noted_at: int, *, is_assumed: bool
) -> None:
    """Take back the note of a send. A record that a caller's word has begun with it is deleted."""
    known = read_record(context, key_index)
    if known is None or noted_at not in known[2:]:
        return
    del known[known.index(noted_at, 2)]
    key = context.get_key(key_index)
    if is_assumed and len(known) == 2 and known[1] == noted_at:  # no unpaid send
        context.keyspace.delete(key)
    else:
        context.keyspace.replace(key, _encode_record(known))
