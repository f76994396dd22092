"""Scripts by a clock that only a test moves, in the model: what a request adds to the clock is the time."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from otp_service.store.commit_request import COMMIT_LUA, INSPECT_LUA, CommitRequest, pack_request
from tests.service.frozen_workers import FETCH_SCRIPT
from tests.simulation.redis_model.commit_script import (
    ServerInfo,
    run_commit_script,
    run_inspect_script,
)
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.script_table import ModeledScript, load_script_table
from tests.simulation.redis_model.scripts import run_fetch_script
from tests.store.frozen_store import freeze_clock


STOPPED_COMMIT: Final = freeze_clock(COMMIT_LUA)
STOPPED_INSPECT: Final = freeze_clock(INSPECT_LUA)

_decode_request = msgspec.msgpack.Decoder(CommitRequest).decode


def add_stopped_scripts() -> None:
    """Let the models of this process know the scripts of tests that stop the clock."""
    table = load_script_table()
    table.add(STOPPED_COMMIT, _stop_clock(run_commit_script))
    table.add(STOPPED_INSPECT, _stop_clock(run_inspect_script))
    table.add(FETCH_SCRIPT, _run_stopped_fetch)


def _stop_clock(run: ModeledScript) -> ModeledScript:
    def run_by_request(
        keyspace: Keyspace, info: ServerInfo, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Any:
        changed, index = list(arguments), 0
        while index < len(arguments) - 1:
            request = _decode_request(arguments[index])
            shift_ms = request.clock_shift_ms - info.time_ms
            changed[index] = pack_request(msgspec.structs.replace(request, clock_shift_ms=shift_ms))
            index += request.argument_count
        return run(keyspace, info, keys, changed)

    return run_by_request


def _run_stopped_fetch(
    keyspace: Keyspace, _: ServerInfo, keys: Sequence[bytes], arguments: Sequence[bytes]
) -> Any:
    _, *values = run_fetch_script(keyspace, keys, arguments)
    return [int(arguments[0]), *values]
