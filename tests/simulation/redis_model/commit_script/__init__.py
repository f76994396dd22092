"""The model of the commit script (`otp_service/store/lua`), and of the script that only inspects.

It has the KEYS, the ARGV, the replies and the effects of the scripts, and the arithmetic of `core/`.
`tests/simulation/test_commit_script_model.py` holds it equal to the scripts on a real server.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from tests.simulation.redis_model.commit_script.debt_changes import remember_cause
from tests.simulation.redis_model.commit_script.decision import (
    Decision,
    Reply,
    apply_commit,
    decide_commit,
)
from tests.simulation.redis_model.commit_script.inspection import inspect_commit
from tests.simulation.redis_model.commit_script.script_call import (
    CommitContext,
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
    """Run the commits of a call, each by itself or all or none of them, and return the replies.

    Raises ErrorReply where the script ends with an error; what it has written until then stays.
    """
    contexts = iterate_commits(ScriptCall(keyspace, server_info), keys, arguments)
    first = next(contexts)
    run = _run_all_or_none if first.request.all_or_none else _run_each
    return run(chain((first,), contexts))


def _run_each(contexts: Iterable[CommitContext]) -> list[Reply]:
    return [_finish(context, decide_commit(context)) for context in contexts]


def _run_all_or_none(contexts: Iterable[CommitContext]) -> list[Reply]:
    """Apply all commits, or none: then return the replies up to that of the one that is not applied."""
    decided: list[tuple[CommitContext, Decision]] = []
    for context in contexts:
        decision = decide_commit(context)
        if isinstance(decision, list) and decision[0] != b"done":
            earlier = (one if isinstance(one, list) else [b"undone"] for _, one in decided)
            return [*earlier, decision]
        decided.append((context, decision))
        remember_cause(context.call, decision)
    replies = []
    for context, decision in decided:
        replies.append(_finish(context, decision))
        if replies[-1][0] != b"done":
            break
    return replies


def _finish(context: CommitContext, decision: Decision) -> Reply:
    return decision if isinstance(decision, list) else apply_commit(context, decision)


def run_inspect_script(
    keyspace: Keyspace,
    server_info: ServerInfo,
    keys: Sequence[bytes],
    arguments: Sequence[bytes],
) -> list[Any]:
    """Return what would be decided of each commit of a call. Raises ErrorReply as the script does."""
    call = ScriptCall(keyspace, server_info)
    return [inspect_commit(context) for context in iterate_commits(call, keys, arguments)]
