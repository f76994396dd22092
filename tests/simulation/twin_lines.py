"""Lines that run each command on a real server and on the model, and compare the replies."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from otp_service.store.client import ScriptClient
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.line import Command, Request, _remove_echo
from otp_service.store.lua_script import LuaScript
from otp_service.store.reply_errors import parse_error_reply
from otp_service.store.server_checks import parse_info
from tests.simulation.commit_twins.dump import DUMP_LUA, decode_dump, dump_keyspace
from tests.simulation.kernel.chance import Chance
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.replication import Replication
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.server import SimulatedServer
from tests.simulation.twin_ends import ModelEnd, RealEnd


COMPARED_INFO: Final = (
    "aof_enabled",
    "aof_last_write_status",
    "connected_slaves",
    "loading",
    "master_replid",
    "maxmemory_policy",
    "role",
    "run_id",
)
"""Fields of INFO that the service reads, but for the version."""


class TwinLines:
    """Runs each command on both at the same time, one after another. Implements what ScriptClient uses.

    `compared` counts commands by their name; the name of a script is its digest.
    """

    timeout = 5.0
    sentinel = None

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._real = RealEnd(socket_path)
        self._real.run(("FLUSHALL",), ("SCRIPT", "FLUSH"))
        self._now = 0
        replication = Replication(asyncio.get_running_loop())
        self.model = SimulatedServer("twin", Keyspace(lambda: self._now), Chance(0), replication)
        self._model_end = ModelEnd(self.model)
        self.compared: dict[str, int] = {}
        self._replaced_scripts: dict[str, tuple[str, str]] = {}
        self.copy_identity()

    async def run(
        self, _: str, requests: Sequence[Request], wait: Command | None = None
    ) -> list[Any]:
        """Return the replies of the real server."""
        await asyncio.sleep(0)
        replies = [self._run_request(request) for request in requests]
        if wait:
            replies.append(self._run_request(Request(wait)))
        await asyncio.sleep(0)
        return replies

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the real server."""
        self._real.close()

    def _run_request(self, request: Request) -> Any:
        command, token = request
        reply = self.run_both(command)
        if isinstance(reply, ErrorReply):
            return parse_error_reply(str(reply))
        return reply if token is None else _remove_echo(reply, token)

    def run_both(self, command: Sequence[Any]) -> Any:
        """Return the reply of the real server, which must be that of the model."""
        of_real, of_model = self._replace_script(command)
        now, found = self._real.run_timed(of_real)
        self._now = now or self._now
        expected = self._model_end.run(_adapt_command(of_model))
        name = str(command[1]) if command[0] == "EVALSHA" else str(command[0])
        self.compared[name] = self.compared.get(name, 0) + 1
        if self.model.findings:
            return self.handle_finding(found)
        if command[0] == "SCAN" and {bytes(found[0]), _encode_word(command[1])} != {b"0"}:
            assert set(found[1]) <= set(expected[1])  # a part; the model replies with all of it
            return found
        assert normalize_reply(command, expected) == normalize_reply(command, found), command[:3]
        return found

    def replace_script(self, script: LuaScript, of_real: LuaScript, of_model: LuaScript) -> None:
        """Run other scripts in place of one: for a test that stops its clock, or breaks it."""
        self.run_alone("SCRIPT", "LOAD", of_real.source)
        self.model._loaded_scripts.add(of_model.sha.encode())
        self._replaced_scripts[script.sha] = (of_real.sha, of_model.sha)

    def _replace_script(self, command: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return a command as the real server and as the model run it."""
        if command[0] != "EVALSHA" or command[1] not in self._replaced_scripts:
            return command, command
        name, _, *others = command
        of_real, of_model = self._replaced_scripts[command[1]]
        return (name, of_real, *others), (name, of_model, *others)

    def handle_finding(self, _: Any) -> Any:
        """Fail: the service has sent what the model does not have."""
        raise AssertionError(self.model.findings)

    def run_real(self, *command: Any) -> Any:
        """Return the reply of the real server to a command that the model does not have."""
        now, reply = self._real.run_timed(command)
        assert not isinstance(reply, ErrorReply), reply
        self._now = now
        return reply

    def run_alone(self, *command: Any) -> Any:
        """Return the reply of the real server to a command that is in no transaction."""
        (reply,) = self._real.run(command)
        return reply

    def compare_alone(self, command: Sequence[Any]) -> Any:
        """Return the reply of the real server to a command that is in no transaction, after a comparison."""
        found, expected = self.run_alone(*command), self._model_end.run(command)
        assert normalize_reply(command, expected) == normalize_reply(command, found)
        return found

    def reconnect(self) -> None:
        """Open another connection to each server."""
        self._real.close()
        self._real, self._model_end = RealEnd(self._socket_path), ModelEnd(self.model)

    def empty(self) -> None:
        """Delete all that is stored."""
        self.run_real("FLUSHALL")
        self.model.keyspace.clear()

    def compare_data(self) -> None:
        """Compare all that is stored."""
        (reply,) = self._real.run(("EVAL", DUMP_LUA, 0))
        self._now, found = decode_dump(reply)
        expected = dump_keyspace(self.model.keyspace)
        assert expected.keys() == found.keys()
        for key, content in found.items():
            assert expected[key] == content, key

    def copy_identity(self) -> None:
        """Give the model the ids of the real server, which are drawn."""
        (info,) = self._real.run(("INFO", "everything"))
        fields, scripts = parse_info(info), {*self.model._loaded_scripts}
        self.model.set_identity(fields["run_id"], fields["master_replid"])
        self.model._loaded_scripts |= scripts  # the process is the same one


def _adapt_command(command: Sequence[Any]) -> Sequence[Any]:
    """Return what the model replies to as a real server does in a transaction, where nothing waits."""
    match command[0]:
        case "WAIT":
            return ("WAIT", 0, 1)
        case "SCAN":
            return ("SCAN", 0, *command[2:])
        case _:
            return command


def _encode_word(word: Any) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def normalize_reply(command: Sequence[Any], reply: Any) -> Any:
    """Return a reply without what may differ: the order of members, and where a script failed."""
    if isinstance(reply, ErrorReply):
        return _describe_error(command, str(reply))
    if command[0] == "DBSIZE":
        return None  # expired keys count until Redis deletes them
    match command[0]:
        case "INFO":
            fields = parse_info(reply)
            return {name: fields[name] for name in COMPARED_INFO if name in fields}
        case "SMEMBERS" | "SCAN":
            return sorted(reply if command[0] == "SMEMBERS" else reply[1])
        case "HGETALL":
            return dict(zip(reply[::2], reply[1::2], strict=True))
        case _:
            return _decode_stamps(reply)


def _describe_error(command: Sequence[Any], text: str) -> tuple[str, str]:
    is_of_script = command[0] in {"EVAL", "EVALSHA"} and "script" in text
    return "error", text.partition(" ")[0] if is_of_script else text


def _decode_stamps(reply: Any) -> Any:
    """Return a reply with the members of each JSON object in any order, as Lua writes them."""
    if isinstance(reply, list):
        return [_decode_stamps(item) for item in reply]
    if isinstance(reply, bytes) and re.match(rb'\{"', reply):
        return msgspec.json.decode(reply)
    return reply


def create_twin_client(server: EmbeddedServer, **options: Any) -> tuple[ScriptClient, TwinLines]:
    """Return a client of both, and its lines."""
    lines = TwinLines(server.socket_path)
    return ScriptClient(lines, **options), lines  # type: ignore[arg-type]  # has the same methods
