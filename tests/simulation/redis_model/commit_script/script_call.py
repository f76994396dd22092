"""One call of a script: what the server tells it, and the commits that it decides in turn."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from otp_service.core.pumping.known_number import ExemptTime
from otp_service.store.commit_request import CommitRequest
from tests.simulation.redis_model.keyspace import Keyspace


if TYPE_CHECKING:
    from tests.simulation.redis_model.commit_script.bucket import Bucket
    from tests.simulation.redis_model.commit_script.debt_book import DebtBook
    from tests.simulation.redis_model.commit_script.event_log import EventLog


_decode_request = msgspec.msgpack.Decoder(CommitRequest).decode


class ServerInfo(msgspec.Struct, frozen=True):
    """What the script asks of the server beside its keys."""

    time_ms: int
    """TIME, in milliseconds since 1970, which is the same during a call. Expiries are by the clock of
    the keyspace, which must be that time too, except in tests that freeze the time of decisions."""
    replication_id: bytes
    """`master_replid` of INFO: another one after a restart or a failover."""


class ScriptCall:
    """The state that the commits of a call share."""

    def __init__(self, keyspace: Keyspace, server_info: ServerInfo) -> None:
        self.keyspace = keyspace
        self.server_info = server_info
        self.earlier_cause = 0
        """Why an earlier commit of the same send was not charged debts."""
        self.earlier_exempt_time: ExemptTime | None = None
        """When the number of the same send is exempt, as an earlier commit has found."""
        self._now: int | None = None

    def read_clock(self, request: CommitRequest) -> int:
        """Return the time of decisions in milliseconds, by the shift of the first one that needs it."""
        if self._now is None:
            self._now = self.server_info.time_ms + request.clock_shift_ms
        return self._now

    def put_for(self, key: bytes, value: bytes, ttl_ms: int) -> None:
        """Write a string that expires after milliseconds of the server's clock."""
        self.keyspace.put(key, value, self.keyspace.clock() + ttl_ms)


class CommitContext:
    """One commit of a call, and what it has read."""

    __slots__ = (
        "arguments", "buckets", "call", "debts", "keys", "keyspace", "log", "log_limits", "now", "request",
    )  # fmt: skip

    buckets: "dict[bytes, Bucket]"
    debts: "DebtBook"
    log: "EventLog"

    def __init__(
        self,
        call: ScriptCall,
        request: CommitRequest,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
    ) -> None:
        self.call = call
        self.keyspace = call.keyspace
        self.request = request
        self.log_limits = request.log_limits
        self.keys = keys
        self.arguments = arguments
        self.now = 0
        """Milliseconds since 1970, once the commit is decided."""
        self.buckets = {}

    def get_key(self, index: int) -> bytes:
        """Return a key by its index in the request, from 1."""
        return self.keys[index - 1]


def iterate_commits(
    call: ScriptCall, keys: Sequence[bytes], arguments: Sequence[bytes]
) -> Iterator[CommitContext]:
    """Yield the commits of a call in turn. What follows the last one, such as a token, is ignored."""
    next_key = next_argument = 0
    while True:
        request = _decode_request(arguments[next_argument])
        last_key, last_argument = (
            next_key + request.key_count,
            next_argument + request.argument_count,
        )
        yield CommitContext(
            call, request, keys[next_key:last_key], arguments[next_argument:last_argument]
        )
        next_key, next_argument = last_key, last_argument
        if next_key >= len(keys):
            return
