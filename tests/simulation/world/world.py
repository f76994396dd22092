"""Everything around the calls of one run: the installation, its vendors, and the phones of persons."""

from collections.abc import Callable

from otp_service.core.delivery import Receipt
from otp_service.store.server_checks import Address
from tests.simulation.history import FaultKind
from tests.simulation.recorder import Recorder
from tests.simulation.world.configuration import (
    DEFAULT_PROFILE,
    PROVIDER_NAMES,
    build_configuration,
)
from tests.simulation.world.installation import Installation
from tests.simulation.world.phones import Phones
from tests.simulation.world.ports import Chance
from tests.simulation.world.site import EventLogRules, Site
from tests.simulation.world.vendor import Vendor


class World:
    """One installation on any event loop and any Redis.

    `read_true_ms` returns milliseconds since 1970 by a clock that never jumps. `limits` names
    those of all tenants, and `jobs` are the background jobs of workers that run (`jobs.py`).
    """

    def __init__(  # noqa: PLR0913  # what a simulation and a real run bring with them
        self,
        chance: Chance,
        read_true_ms: Callable[[], int],
        store_address: Address | str,
        *,
        replicas: int = 0,
        timeout_ms: int = 500,
        limits: str = DEFAULT_PROFILE,
        jobs: frozenset[str] = frozenset(),
        log: EventLogRules | None = None,
    ) -> None:
        self.chance = chance
        self.read_true_ms = read_true_ms
        self.recorder = Recorder(read_true_ms)
        self.phones = Phones(read_true_ms)
        self.vendors = {name: self._create_vendor(name) for name in PROVIDER_NAMES}
        site = Site(
            chance=chance,
            read_true_ms=read_true_ms,
            recorder=self.recorder,
            vendors=self.vendors,
            store_address=store_address,
            replicas=replicas,
            timeout_ms=timeout_ms,
            log=log or EventLogRules(),
            limits=limits,
            jobs=jobs,
        )
        self.installation = Installation(site, build_configuration(limits=limits))
        self._provider_faults: list[int] = []

    def trouble_vendor(self, name: str, share: float) -> None:
        """Let something be wrong with this share of a vendor's messages, until `end_faults`."""
        self.vendors[name].trouble = share
        self._provider_faults.append(self.recorder.start_fault(FaultKind.PROVIDER, name))

    def end_faults(self) -> None:
        """End every fault of workers, hosts and vendors."""
        for index in self._provider_faults:
            self.recorder.end_fault(index)
        self._provider_faults.clear()
        self.installation.end_faults()

    def _create_vendor(self, name: str) -> Vendor:
        chance = self.chance.derive(f"vendor {name}")
        return Vendor(name, chance, self.recorder, self.phones, self._report_receipt)

    async def _report_receipt(self, provider: str, receipt: Receipt) -> None:
        await self.installation.report_receipt(provider, receipt)
