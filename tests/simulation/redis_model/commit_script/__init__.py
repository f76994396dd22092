"""The model of the commit script (`otp_service/store/lua`), and of the script that only inspects.

It has the KEYS, the ARGV, the replies and the effects of the scripts, and the arithmetic of `core/`.
`tests/simulation/test_commit_script_model.py` holds it equal to the scripts on a real server.
"""

from collections.abc import Sequence
from typing import Any

from tests.simulation.redis_model.commit_script.debt_changes import remember_cause
from tests.simulation.redis_model.commit_script.decision import run_commit
from tests.simulation.redis_model.commit_script.inspection import inspect_commit
from tests.simulation.redis_model.commit_script.script_call import (
    ScriptCall,
    ServerInfo,
    iterate_commits,
)
from tests.simulation.redis_model.keyspace import Keyspace


__all__ = ["ServerInfo", "run_commit_script", "run_inspect_script"]


def run_commit_script(
    keyspace: Keyspace,
    server_info: ServerInfo,
    keys: Sequence[bytes],
    arguments: Sequence[bytes],
) -> list[Any]:
    """Run the commits of a call in turn, and return the replies of those that ran.

    Raises ErrorReply where the script ends with an error; what it has written until then stays.
    """
    replies = []
    for context in iterate_commits(ScriptCall(keyspace, server_info), keys, arguments):
        reply = run_commit(context)
        replies.append(reply)
        remember_cause(context, reply)
        if context.request.dependent_commits > 0 and reply[0] != b"done":
            break
    return replies


def run_inspect_script(
    keyspace: Keyspace,
    server_info: ServerInfo,
    keys: Sequence[bytes],
    arguments: Sequence[bytes],
) -> list[Any]:
    """Return what would be decided of each commit of a call. Raises ErrorReply as the script does."""
    call = ScriptCall(keyspace, server_info)
    return [inspect_commit(context) for context in iterate_commits(call, keys, arguments)]
