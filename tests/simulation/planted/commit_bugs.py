"""Bugs between the service and the store: commits, their repeats, their replies, and WAIT."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final

import msgspec

from otp_service.core.commit import Commit, Committed
from otp_service.core.errors import StoreUnavailable
from otp_service.store import line
from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import CommitRequest
from otp_service.store.redis_store import RedisStore
from tests.simulation.auditor.violation import Promise
from tests.simulation.planted.planted_bug import PlantedBug, replace_part


_decode_request = msgspec.msgpack.Decoder(CommitRequest).decode


@contextmanager
def append_events_later() -> Iterator[None]:
    def build(original: Any) -> Any:
        async def commit(self: Any, commit: Any) -> Any:
            if not commit.events or not (commit.swap or commit.record_swaps):
                return await original(self, commit)
            outcome = await original(self, msgspec.structs.replace(commit, events=()))
            if isinstance(outcome, Committed):
                operation_id = f"{commit.operation_id}-events"
                # Nobody is refused a login because of a log, one may think.
                with suppress(StoreUnavailable):
                    await original(
                        self,
                        Commit(
                            partition=commit.partition,
                            operation_id=operation_id,
                            events=commit.events,
                        ),
                    )
            return outcome

        return commit

    with replace_part(RedisStore, "commit", build):
        yield


@contextmanager
def ignore_wait() -> Iterator[None]:
    def build(original: Any) -> Any:
        async def run_script(
            self: Any, script: Any, keys: Any, arguments: Any, *, durable: bool = False
        ) -> Any:
            del durable
            return await original(self, script, keys, arguments)

        return run_script

    with replace_part(ScriptClient, "run_script", build):
        yield


@contextmanager
def repeat_under_other_ids() -> Iterator[None]:
    def build(original: Any) -> Any:
        async def retry_lost_reply(self: Any, call: Any) -> Any:
            is_commit = getattr(call, "keywords", {}).get("durable") is not None
            if not is_commit:
                return await original(self, call)
            script, keys, arguments = call.args
            own, tries = list_operation_keys(arguments), count()

            async def run() -> Any:
                suffix = f"-{number}" if (number := next(tries)) else ""
                renamed = [f"{key}{suffix}" if i in own else key for i, key in enumerate(keys)]
                return await call.func(script, renamed, arguments, **call.keywords)

            return await original(self, run)

        return retry_lost_reply

    with replace_part(ScriptClient, "retry_lost_reply", build):
        yield


def list_operation_keys(arguments: list[bytes]) -> set[int]:
    """Return the indexes of the keys that are the own operations of the commits of a call."""
    own, key_index, argument_index = set(), 0, 0
    while argument_index < len(arguments):
        request = _decode_request(arguments[argument_index])
        own.add(key_index)
        key_index += request.key_count
        argument_index += request.argument_count
    return own


@contextmanager
def mix_up_replies() -> Iterator[None]:
    def build_check(_: Any) -> Any:
        def remove_echo(reply: Any, _token: bytes) -> Any:
            if isinstance(reply, list) and len(reply) == 2:
                return reply[1]
            return None if isinstance(reply, bytes) else reply

        return remove_echo

    def build_accept(original: Any) -> Any:
        def accept_reply(self: Any, reply: Any) -> None:
            while len(self._calls) > 1 and self._calls[0].future.done():
                self._calls.popleft()  # that of a canceled call, whose reply still arrives
            original(self, reply)

        return accept_reply

    with (
        replace_part(line, "_remove_echo", build_check),
        replace_part(line.Line, "_accept_reply", build_accept),
    ):
        yield


BUGS: Final = (
    PlantedBug(
        name="event outside the commit",
        what="events are appended by a commit of their own, after that of the change",
        promises=frozenset({Promise.EVENTS}),
        plant=append_events_later,
    ),
    PlantedBug(
        name="WAIT ignored",
        what="no commit waits for replicas",
        promises=frozenset({Promise.COMPARISONS, Promise.SENDS, Promise.SUCCESS, Promise.CHARGES}),
        plant=ignore_wait,
    ),
    PlantedBug(
        name="retry without the operation id",
        what="a commit whose reply was lost is repeated under another operation id",
        promises=frozenset({Promise.CHARGES, Promise.EVENTS, Promise.ANSWERS}),
        plant=repeat_under_other_ids,
    ),
    PlantedBug(
        name="response matched to the wrong command",
        what="a connection forgets the commands of canceled calls, and checks no token of a reply",
        promises=frozenset({Promise.ANSWERS, Promise.LIVENESS}),
        plant=mix_up_replies,
    ),
)
