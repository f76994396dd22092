"""A name that leads to a new master, seen from outside of the service."""

import asyncio
import json
import time

import pytest

from tests.failover.failover_pair import FailoverPair
from tests.processes import GatewayServer, RunningService, run_service, send_request
from tests.store import redis_servers
from tests.store.address_switch import AddressSwitch


pytestmark = pytest.mark.slow


async def test_a_service_follows_a_name_to_the_new_master(tmp_path, pair: FailoverPair):
    """503 ended only with a restart, while the demoted master kept its connections open.

    The code that was sent before verifies on the new master, the log says what Redis answered, and
    liveness asks for no restart.
    """
    async with AddressSwitch(pair.old) as address:
        with GatewayServer() as gateway:
            await asyncio.to_thread(_check_failover, tmp_path, pair, address, gateway)


def _check_failover(folder, pair: FailoverPair, address: AddressSwitch, gateway: GatewayServer):
    with run_service(folder, pair.old, [gateway.url], REDIS__URL=address.url) as service:
        issued = service.issue("+447400123456")
        code = gateway.find_code("+447400123456")
        pair.demote_old()
        refused = service.verify(issued, code)
        live, ready = (_get_health(service, name) for name in ("live", "ready"))

        address.target = pair.new
        began = time.monotonic()
        redis_servers.wait_until(
            lambda: service.verify(issued, code).status == 200, description="the recovery"
        )
        took = time.monotonic() - began
        redis_servers.wait_until(service.is_ready, timeout_seconds=5)

    assert (503, "store-unavailable") == (refused.status, refused.problem_type)
    assert (200, 503) == (live, ready)
    assert took < 5
    lines = [json.loads(line) for line in (folder / "serve.log").read_text().splitlines()]
    assert any("Redis answered READONLY" in line["event"] for line in lines)


def _get_health(service: RunningService, name: str) -> int:
    return send_request(service.port, "GET", f"/health/{name}").status
