"""What a server says about itself (INFO), and why it refuses commands."""

from typing import NamedTuple


OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
DISK_FULL = "MISCONF Errors writing to the AOF file: No space left on device"
TOO_FEW_REPLICAS = "NOREPLICAS Not enough good replicas to write."
READ_ONLY = "READONLY You can't write against a read only replica."
LOADING = "LOADING Redis is loading the dataset in memory"
LOGIN_REQUIRED = "NOAUTH Authentication required."
WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."
UNBLOCKED = (
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)
PASSWORD_WITHOUT_NEED = (
    "ERR AUTH <password> called without any password configured for the default user."
    " Are you sure your configuration is correct?"
)
NO_SCRIPT = "NOSCRIPT No matching script."
WAIT_ON_REPLICA = (
    "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be"
    " writable (which is not the default) writes to replicas are just local and are not propagated."
)


class ServerState(NamedTuple):
    """What INFO reports."""

    run_id: str
    replication_id: str
    is_replica: bool
    is_loading: bool
    is_disk_full: bool
    replicas: tuple[str, ...]
    """Names of those that are online."""


def format_info(state: ServerState, section: bytes) -> bytes:
    """Return the reply to INFO; empty for a section that the model does not have."""
    lines = _SECTIONS.get(section, lambda _: [])(state)
    return "".join(f"{line}\r\n" for line in lines).encode()


def _list_server_lines(state: ServerState) -> list[str]:
    return ["# Server", "redis_version:7.2.4", f"run_id:{state.run_id}"]


def _list_memory_lines(_: ServerState) -> list[str]:
    return ["# Memory", "maxmemory:0", "maxmemory_policy:noeviction"]


def _list_persistence_lines(state: ServerState) -> list[str]:
    status = "err" if state.is_disk_full else "ok"
    return [
        "# Persistence",
        f"loading:{int(state.is_loading)}",
        "aof_enabled:1",
        f"aof_last_write_status:{status}",
    ]


def _list_replication_lines(state: ServerState) -> list[str]:
    return [
        "# Replication",
        f"role:{'slave' if state.is_replica else 'master'}",
        f"connected_slaves:{len(state.replicas)}",
        *(
            f"slave{number}:ip={name},port=6379,state=online,offset=0,lag=0"
            for number, name in enumerate(state.replicas)
        ),
        f"master_replid:{state.replication_id}",
    ]


_SECTIONS = {
    b"server": _list_server_lines,
    b"memory": _list_memory_lines,
    b"persistence": _list_persistence_lines,
    b"replication": _list_replication_lines,
}
