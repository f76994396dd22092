"""A simulated Redis: connections, commands, scripts, and the states in which it refuses them."""

from collections.abc import Callable
from typing import Any

from tests.simulation.kernel.chance import Chance
from tests.simulation.redis_model.commands import DATA_COMMANDS
from tests.simulation.redis_model.commit_script import ServerInfo
from tests.simulation.redis_model.keyless_commands import KEYLESS_COMMANDS
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.replication import Replication
from tests.simulation.redis_model.replies import OK, ErrorReply, UnknownCommand
from tests.simulation.redis_model.script_table import KnownScript, load_script_table
from tests.simulation.redis_model.server_state import (
    DISK_FULL,
    LOADING,
    LOGIN_REQUIRED,
    NO_SCRIPT,
    OUT_OF_MEMORY,
    PASSWORD_WITHOUT_NEED,
    READ_ONLY,
    UNBLOCKED,
    WAIT_ON_REPLICA,
    WRONG_PASSWORD,
    ServerState,
    format_info,
)
from tests.simulation.redis_model.session import BLOCKED, ServerEnd, Session


class SimulatedServer:
    """One process of Redis. Commands run one after another, and take no time.

    The states `is_full`, `is_disk_full`, `is_replica` and `is_loading` may be set at any time;
    `write_refusal` is an error that every write gets.
    """

    def __init__(
        self,
        name: str,
        keyspace: Keyspace,
        chance: Chance,
        replication: Replication,
        *,
        password: bytes | None = None,
    ) -> None:
        self.name = name
        self.keyspace = keyspace
        self.replication = replication
        self.password = password
        self.is_full = self.is_disk_full = self.is_replica = self.is_loading = False
        self.is_frozen = False
        self.write_refusal: str | None = None
        self.findings: list[str] = []
        """Commands and scripts that the model does not have."""
        self.write_boundaries: list[int] = []
        """Offsets after each command or script that has written."""
        self.sessions: list[Session] = []
        """The open connections, in the order of their opening."""
        self._chance = chance
        self._script_table = load_script_table()
        self._loaded_scripts: set[bytes] = set()
        self._commands: dict[bytes, Callable[[list[bytes]], Any]] = {
            **KEYLESS_COMMANDS,
            b"EVAL": self._run_eval,
            b"EVALSHA": self._run_evalsha,
            b"INFO": self._run_info,
        }
        self._session_commands = {b"AUTH": self._run_auth, b"WAIT": self._run_wait}
        self._begin_identity()

    # ---- connections

    def accept(self, connection: ServerEnd) -> None:
        """Serve a connection, as `SimulatedNetwork.listen` calls it."""
        session = Session(connection, self._execute, self.sessions.remove)
        session.is_frozen = self.is_frozen
        session.is_logged_in = self.password is None
        self.sessions.append(session)

    def reset_connections(self) -> None:
        """Break every connection, as the end of the process does."""
        self.replication.drop_waiters()
        sessions, self.sessions = self.sessions, []
        for session in sessions:
            session.reset()

    def freeze(self) -> None:
        """Answer nothing until `thaw`: the process is stopped."""
        self.is_frozen = True
        for session in self.sessions:
            session.is_frozen = True

    def thaw(self) -> None:
        """Run what has arrived meanwhile."""
        self.is_frozen = False
        for session in list(self.sessions):
            session.thaw()

    # ---- life

    def restart(self, lost_writes: int = 0) -> None:
        """End and start again, without the last commands that have written, and without scripts."""
        self.reset_connections()
        kept = len(self.write_boundaries) - lost_writes
        del self.write_boundaries[max(0, kept) :]
        self.keyspace.roll_back(self.write_boundaries[-1] if self.write_boundaries else 0)
        for replica in self.replication.replicas:
            replica.synchronize(self.keyspace.offset)
        self._begin_identity()

    def demote(self) -> None:
        """Become a replica: refuse writes, and end every WAIT. Connections stay open."""
        self.is_replica = True
        self.replication.drop_waiters()
        for session in list(self.sessions):
            if session.is_blocked:
                session.resume(ErrorReply(UNBLOCKED))

    def set_identity(self, run_id: str, replication_id: str) -> None:
        """Be another process: with other ids, and without scripts."""
        self.run_id, self.replication_id = run_id, replication_id
        self._replication_id = replication_id.encode()
        self._loaded_scripts.clear()

    def _begin_identity(self) -> None:
        self.set_identity(self._chance.draw_bytes(20).hex(), self._chance.draw_bytes(20).hex())

    # ---- commands

    def _execute(self, session: Session, command: list[bytes]) -> Any:
        """Return the reply to a command, which may be an ErrorReply, or BLOCKED."""
        offset = self.keyspace.offset
        try:
            reply = self._dispatch(session, command)
        except UnknownCommand as error:
            self.findings.append(f"{command[:2]}: {error}")
            reply = error
        except ErrorReply as error:
            reply = error
        if self.keyspace.offset != offset:
            self._note_write(session)
        return reply

    def _dispatch(self, session: Session, command: list[bytes]) -> Any:
        name = command[0]
        if not session.is_logged_in and name != b"AUTH":
            raise ErrorReply(LOGIN_REQUIRED)
        if run := self._commands.get(name):
            return run(command)
        if run_in_session := self._session_commands.get(name):
            return run_in_session(session, command)
        return self._run_data_command(name, command)

    def _run_data_command(self, name: bytes, command: list[bytes]) -> Any:
        data_command = DATA_COMMANDS.get(name)
        if data_command is None:
            text = name.decode(errors="replace")
            raise UnknownCommand(f"ERR unknown command '{text}', with args beginning with: ")
        count = len(command) - 1
        if not data_command.min_arguments <= count <= data_command.max_arguments:
            text = name.decode().lower()
            raise ErrorReply(f"ERR wrong number of arguments for '{text}' command")
        self._check_state(is_write=data_command.is_write, needs_memory=data_command.needs_memory)
        return data_command.run(self.keyspace, command[1:])

    def _check_state(self, *, is_write: bool, needs_memory: bool) -> None:
        """Raise the error with which a server in this state refuses, in the order of Redis's checks."""
        if self.is_full and needs_memory:
            raise ErrorReply(OUT_OF_MEMORY)
        if is_write and not self.is_replica and self.is_disk_full:
            raise ErrorReply(DISK_FULL)
        if is_write and self.write_refusal:
            raise ErrorReply(self.write_refusal)
        if is_write and self.is_replica:
            raise ErrorReply(READ_ONLY)
        if self.is_loading:
            raise ErrorReply(LOADING)

    def _note_write(self, session: Session) -> None:
        offset = session.write_offset = self.keyspace.offset
        self.write_boundaries.append(offset)
        self.replication.send(offset)

    # ---- scripts

    def _run_evalsha(self, command: list[bytes]) -> Any:
        sha = command[1]
        if sha not in self._loaded_scripts:
            if self.is_loading:
                raise ErrorReply(LOADING)
            raise ErrorReply(NO_SCRIPT)
        return self._run_script(self._script_table.by_sha[sha], command)

    def _run_eval(self, command: list[bytes]) -> Any:
        if self.is_loading:
            raise ErrorReply(LOADING)
        script = self._script_table.find_source(command[1])
        if script is None:
            raise UnknownCommand("ERR the model has no such script")
        self._loaded_scripts.add(script.sha)
        return self._run_script(script, command)

    def _run_script(self, script: KnownScript, command: list[bytes]) -> list[Any]:
        """Return the token of the call and the result of the script, as LuaScript joins them."""
        self._check_state(is_write=script.is_write, needs_memory=script.is_write)
        first_argument = 3 + int(command[2])
        keys, arguments = command[3:first_argument], command[first_argument:]
        info = ServerInfo(self.keyspace.clock(), self._replication_id)
        try:
            result = script.run(self.keyspace, info, keys, arguments)
        except ErrorReply as error:
            raise ErrorReply(_format_script_error(str(error), script)) from error
        return [arguments[-1], result]

    # ---- commands about connections and the server

    def _run_auth(self, session: Session, command: list[bytes]) -> str:
        *users, password = command[1:]
        if self.password is None and not users:
            raise ErrorReply(PASSWORD_WITHOUT_NEED)
        if users not in ([], [b"default"]) or self.password not in {None, password}:
            raise ErrorReply(WRONG_PASSWORD)
        session.is_logged_in = True
        return OK

    def _run_info(self, command: list[bytes]) -> bytes:
        (section,) = command[1:]
        replicas = tuple(r.name for r in self.replication.replicas if r.is_online)
        state = ServerState(
            self.run_id,
            self.replication_id,
            self.is_replica,
            self.is_loading,
            self.is_disk_full,
            () if self.is_replica else replicas,
        )
        return format_info(state, section)

    def _run_wait(self, session: Session, command: list[bytes]) -> Any:
        count, timeout_ms = map(int, command[1:])
        if self.is_loading:
            raise ErrorReply(LOADING)
        if self.is_replica:
            raise ErrorReply(WAIT_ON_REPLICA)
        acknowledged = self.replication.wait(
            session.write_offset, count, timeout_ms / 1000, session.resume
        )
        return BLOCKED if acknowledged is None else acknowledged


def _format_script_error(text: str, script: KnownScript) -> str:
    """Return the reply for an error of Redis in a script, which has a code, or for one of Lua."""
    code = text.partition(" ")[0]
    named = text if code.isupper() else f"ERR user_script:1: {text}"
    return f"{named} script: {script.sha.decode()}"
