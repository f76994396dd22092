"""What all workers of one installation share."""

from collections.abc import Callable, Mapping

import msgspec

from otp_service.store.server_checks import Address
from tests.simulation.recorder import Recorder
from tests.simulation.world.configuration import DEFAULT_PROFILE
from tests.simulation.world.ports import Chance
from tests.simulation.world.vendor import Vendor


class EventLogRules(msgspec.Struct, kw_only=True):
    """The limits of the event log."""

    has_archive: bool = False
    max_entries: int = 5_000
    """Of one stream of a partition: `events.maximum`."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    chance: Chance
    read_true_ms: Callable[[], int]
    """Milliseconds since 1970 by a clock that never jumps."""
    recorder: Recorder
    vendors: Mapping[str, Vendor]
    store_address: Address | str
    replicas: int = 0
    """How many replicas have to have a durable change."""
    wait_ms: int = 100
    timeout_ms: int = 500
    log: EventLogRules
    limits: str = DEFAULT_PROFILE
    """The limits of every tenant: one of `configuration.LIMIT_PROFILES`."""
    jobs: frozenset[str] = frozenset()
    """The background jobs of workers that run: see `Worker.start_jobs`."""
