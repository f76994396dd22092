"""A plugin that runs the tests of the store and the service on both servers, to compare each reply.

    python -m pytest -n 2 -p tests.simulation.twin_plugin tests/service tests/store

It takes some minutes, and is for a change of a script or of the model. Tests of one server are run, also
those that stop the clock of the scripts. A test that sends another script, or writes in a way that the
model does not have, is compared until then. `OTP_TWIN_REPORT` names a file that gets the counts of compared commands.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pytest

from tests import conftest
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.typed_values import read_value, set_fields
from tests.simulation.stopped_scripts import add_stopped_scripts
from tests.simulation.twin_lines import TwinLines


READING_COMMANDS: Final = frozenset(
    [
        "CLIENT",
        "HKEYS",
        "HLEN",
        "KEYS",
        "MEMORY",
        "PEXPIRETIME",
        "PTTL",
        "STRLEN",
        "TTL",
        "TYPE",
        "XINFO",
        "XLEN",
        "XRANGE",
    ]
)
"""What only tests send, and changes nothing."""

OTHER_TESTS: Final = frozenset({"test_operators_see_who_we_are"})
"""Tests of the connection itself, which is another one here."""

compared_commands: Counter[str] = Counter()


class SuiteLines(TwinLines):
    """Lines of a test, which may send more than the service does."""

    def __init__(self, *, url: str, **_: Any) -> None:
        super().__init__(Path(unquote(urlsplit(url).path)))
        self._is_compared = True

    def run_both(self, command: Sequence[Any]) -> Any:
        name = str(command[0])
        write = _WRITES.get(name)
        if not self._is_compared or name in READING_COMMANDS:
            return self._real.run_timed(command)[1]
        if write:
            reply = self._real.run_timed(command)[1]
            write(self.model.keyspace, _encode_words(command[1:]))
            return reply
        compared_commands[name] += 1
        return super().run_both(command)

    def handle_finding(self, reply: Any) -> Any:
        """Compare nothing more in this test: the model may lack a change."""
        self.model.findings.clear()
        self._is_compared = False
        compared_commands["tests that left the model"] += 1
        return reply

    async def aclose(self) -> None:
        if self._is_compared:
            self.compare_data()
        await super().aclose()


def _encode_words(words: Sequence[Any]) -> list[bytes]:
    return [word if isinstance(word, bytes) else str(word).encode() for word in words]


def _delete(keyspace: Keyspace, words: list[bytes]) -> None:
    for key in words:
        keyspace.delete(key)


def _set_fields(keyspace: Keyspace, words: list[bytes]) -> None:
    key, *parts = words
    set_fields(keyspace, key, dict(zip(parts[::2], parts[1::2], strict=True)))


def _add_members(keyspace: Keyspace, words: list[bytes]) -> None:
    key, *members = words
    stored = read_value(keyspace, key, frozenset, frozenset())
    keyspace.replace(key, stored | set(members))


_WRITES: Mapping[str, Callable[[Keyspace, list[bytes]], None]] = {
    "DEL": _delete,
    "FLUSHALL": lambda keyspace, _: keyspace.clear(),
    "HSET": _set_fields,
    "SADD": _add_members,
}
"""What only tests send, and changes the data of both."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests whose client is one of one server."""
    items[:] = [item for item in items if _is_kept(item)]
    vars(conftest)["create_redis_lines"] = SuiteLines
    add_stopped_scripts()


def _is_kept(item: pytest.Item) -> bool:
    test, _, parameters = item.name.rstrip("]").partition("[")
    if "one_server_client" in getattr(item, "fixturenames", ()):
        return True
    return parameters.split("-")[0] == "server" and test not in OTHER_TESTS


def pytest_sessionfinish() -> None:
    """Write how often each command was compared."""
    if report := os.environ.get("OTP_TWIN_REPORT"):
        with Path(report).open("a") as file:
            file.write(json.dumps(dict(compared_commands.most_common())) + "\n")
