"""Bodies for operators: health, readiness, and what each process runs."""

from typing import Literal

import msgspec

from otp_service.schemas.members import TimestampText


Mode = Literal["live", "test", "development"]


class Health(msgspec.Struct, frozen=True):
    """The process is alive; otherwise the response is a problem."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """The process can serve requests; otherwise the response is a problem."""

    mode: Mode
    """Outside of `live`, codes of fictitious numbers are accepted and can be read."""
    status: Literal["ok"] = "ok"


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the service, or one job of its supervisor, and the configuration it runs."""

    role: str
    """`worker-1` and so on, `admin` or `sealer`."""
    pid: int
    configuration: str
    """The hash of its settings, as in `versions` of its events."""
    started_at: TimestampText
    state: str
    ready: bool


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which process runs which configuration, and what is wrong."""

    version: str
    mode: Mode
    configuration: str
    """The hash of the configuration in force."""
    configuration_file: str
    started_at: TimestampText
    reload_refused: bool
    """Whether the last SIGHUP changed nothing."""
    processes: list[ProcessStatus]
    problems: list[str]
