"""R31: a whole service that asks the risk service of docs/risk-hook.md, and one that hangs."""

import asyncio
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from msgspec.structs import replace

from otp_service.app import Application, create_public_app
from otp_service.core.keys import generate_secret
from otp_service.core.secret import Secret
from otp_service.risk import RiskSettings
from otp_service.settings.development import (
    DEV_ACCOUNT_SID,
    DEV_SERVICE_SID,
    DEV_TENANT,
    create_dev_settings,
    ensure_dev_secrets,
)
from otp_service.settings.service_tables import ServiceSettings
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


PAGE = Path(__file__).parents[2] / "docs" / "risk-hook.md"
SWAPPED_NUMBER, NUMBER = "+447700900123", "+447700900124"
API_KEY = "worthless-key-of-the-risk-tests"
WEBHOOK_SECRET = "whsec_d29ydGhsZXNzLXNlY3JldC1vZi1hLXJpc2stc2VydmljZQ=="


class RiskyService:
    """The service in this process, and its two applications."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self._public: Any = create_public_app(app)
        self.reader = self._public.state.context.reader

    async def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": secrets.token_hex(8)}
        transport = httpx.ASGITransport(self._public)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, **({"json": body, "headers": headers} | more))

    def read_metrics(self) -> str:
        page, _ = self.app.metrics.render_metrics()
        return page.decode()

    async def list_risk_events(self) -> list[tuple[str, str, str]]:
        """Return type, answer and reason of the service of each event with an answer, oldest first."""
        events, _ = await self.reader.read_page(limit=100)
        return [
            (each["type"], each["risk_answer"], each.get("risk_reason", ""))
            for each in reversed(list(events))
            if each.get("risk_answer")
        ]


def create_settings(server: EmbeddedServer, folder: Path, risk: RiskSettings) -> Any:
    with redis_servers.open_client(server) as client:
        client.flushall()
    kept = ensure_dev_secrets(folder, API_KEY, lambda: generate_secret(os.urandom))
    settings = create_dev_settings(ServiceSettings(), server.url, kept)
    return replace(settings, risk=risk, hash=replace(settings.hash, max_prepared_codes=0))


def create_risk_settings(
    port: int, on_failure: Literal["allow", "refuse"], **more: Any
) -> RiskSettings:
    return RiskSettings(
        url=f"http://127.0.0.1:{port}/check",
        secret=Secret(WEBHOOK_SECRET),
        on_failure=on_failure,
        **more,
    )


@pytest.fixture
def example_port(tmp_path: Path) -> Iterator[int]:
    """Run the Python of the page; return its port."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (program,) = blocks
    (tmp_path / "risk.py").write_text(program)
    port = redis_servers.find_free_port()
    environment = {
        **os.environ,
        "RISK_SECRET": WEBHOOK_SECRET,
        "SWAPPED": f"+33600000000 {SWAPPED_NUMBER}",
        "PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, str(tmp_path / "risk.py")], env=environment)
    try:
        wait_until_open(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def wait_until_open(port: int) -> None:
    """Raise ConnectionError if nothing listens after ten seconds."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionError:
            time.sleep(0.05)  # the program is starting
        else:
            return
    raise ConnectionError


@pytest.fixture
async def service(
    server: EmbeddedServer, tmp_path: Path, example_port: int
) -> AsyncIterator[RiskyService]:
    """Return a service that asks the example, and refuses without an answer."""
    settings = create_settings(
        server,
        tmp_path,
        # Longer than settings may have: the example must not be late because the machine is busy.
        create_risk_settings(example_port, "refuse", deadline_milliseconds=20_000),
    )
    async with Application(settings) as app:
        yield RiskyService(app)


@pytest.fixture
async def hanging_port() -> AsyncIterator[int]:
    """Return a port that accepts connections and answers nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.slow
async def test_the_example_of_the_page_refuses_a_swapped_number_at_every_entry_point(
    service: RiskyService,
) -> None:
    """Our own calls, a hook and Twilio's API; another number gets its code."""
    twilio_path = f"/twilio/v2/Services/{DEV_SERVICE_SID}/Verifications"
    form = {"To": SWAPPED_NUMBER, "Channel": "sms"}
    delivery = {"phone_number": SWAPPED_NUMBER, "code": "471093"}
    issue = {"phone_number": SWAPPED_NUMBER, "purpose": "login"}

    refused = await service.post("/v1/challenges", issue)
    delivered = await service.post(
        "/v1/deliveries", delivery | {"purpose": "login", "valid_minutes": 5}
    )
    hooked = await service.post("/v1/hooks/generic", delivery)
    started = await service.post(
        twilio_path, None, json=None, data=form, headers={}, auth=(DEV_ACCOUNT_SID, API_KEY)
    )
    assert (
        201 == (await service.post("/v1/challenges", issue | {"phone_number": NUMBER})).status_code
    )

    assert (422, "/problems/number-not-allowed", "risk") == (
        refused.status_code,
        refused.json()["type"],
        refused.json()["reason"],
    )
    assert "sim_swap" not in refused.text
    assert "risk" == delivered.json()["reason"]
    assert hooked.status_code in {400, 422}
    assert started.status_code >= 400
    messages = await service.app.inbox.list_messages() if service.app.inbox else []
    assert [NUMBER] == [message.to for message in messages]
    assert [
        ("otp.issue_denied", "refuse", "sim_swap"),
        ("delivery.denied", "refuse", "sim_swap"),
        ("otp.issued", "allow", ""),
    ] == sorted(
        {*await service.list_risk_events()},
        key=lambda event: (event[1] == "allow", event[0] != "otp.issue_denied"),
    )


@pytest.mark.slow
async def test_answers_are_counted(service: RiskyService) -> None:
    """Metrics have no number and no reason of the service."""
    await service.post("/v1/challenges", {"phone_number": SWAPPED_NUMBER, "purpose": "login"})
    await service.post("/v1/challenges", {"phone_number": NUMBER, "purpose": "login"})

    metrics = service.read_metrics()
    assert 'otp_risk_checks_total{answer="refuse",fault=""} 1.0' in metrics
    assert 'otp_risk_checks_total{answer="allow",fault=""} 1.0' in metrics
    assert "otp_risk_seconds_count 2.0" in metrics
    assert 'reason="risk"' in metrics
    assert "sim_swap" not in metrics


@pytest.mark.slow
@pytest.mark.parametrize(("on_failure", "status"), [("allow", 201), ("refuse", 422)])
async def test_a_service_that_hangs_delays_an_issue_by_its_deadline(
    server: EmbeddedServer,
    tmp_path: Path,
    hanging_port: int,
    on_failure: Literal["allow", "refuse"],
    status: int,
) -> None:
    """Fifty calls at once, each for another number, wait together and not in turn."""
    settings = create_settings(server, tmp_path, create_risk_settings(hanging_port, on_failure))
    async with Application(settings) as app:
        service = RiskyService(app)
        began = time.monotonic()
        bodies = [{"phone_number": f"+4477009001{i:02}", "purpose": "login"} for i in range(50)]
        answers = await asyncio.gather(*(service.post("/v1/challenges", body) for body in bodies))
        seconds = time.monotonic() - began
        metrics = service.read_metrics()

    assert {status} <= {answer.status_code for answer in answers} <= {status, 503}
    assert seconds < 6  # fifty deadlines in turn would be 15 s
    assert 'otp_risk_checks_total{answer="failed",fault="timeout"}' in metrics


@pytest.mark.slow
async def test_the_deadline_is_added_to_the_time_of_an_issue(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """A lease of an Idempotency-Key is longer than its call can run."""
    port = redis_servers.find_free_port()
    risk = create_risk_settings(port, "allow", deadline_milliseconds=250)
    settings = create_settings(server, tmp_path, risk)
    async with (
        Application(settings) as with_risk,
        Application(replace(settings, risk=None)) as bare,
    ):
        timeouts = [app.service._dependencies.issue_timeout_ms for app in (with_risk, bare)]
        assert bare.service._dependencies.risk_service is None

    assert 250 == timeouts[0] - timeouts[1]


def test_the_tenant_decides_whether_its_sends_are_asked_about(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    settings = create_settings(server, tmp_path, create_risk_settings(1, "refuse"))
    table = replace(settings.tenant_settings[DEV_TENANT], risk_check=False)
    off = replace(settings, tenant_settings={DEV_TENANT: table})

    assert settings.build_tenants()[DEV_TENANT].has_risk_check
    assert not off.build_tenants()[DEV_TENANT].has_risk_check
