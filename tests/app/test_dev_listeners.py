"""`dev` where others reach it, as in a container: everything with a code needs the API key."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from otp_service.app import Application, create_admin_app, create_public_app
from otp_service.core.keys import generate_secret
from otp_service.settings.development import create_dev_settings, ensure_dev_secrets
from otp_service.settings.service_tables import ServiceSettings
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.mode_mark import MODE_KEY
from tests.store import redis_servers


KEY = "of-this-container-0123456789abcdef"
NUMBER = "+447700900123"
PRIVATE = [
    ("GET", "/inbox.json"),
    ("POST", "/inbox/replies"),
    ("POST", "/reset"),
    ("GET", "/authenticator.json"),
    ("POST", "/authenticator.json"),
]


class DevApi:
    """Both listeners of `dev` on all addresses, called by the name of its container."""

    def __init__(self, app: Application) -> None:
        self._public = create_public_app(app)
        self._admin = create_admin_app(app, read_status=lambda: None)  # type: ignore[arg-type,return-value]

    async def call_admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._call(self._admin, method, path, **options)

    async def call_public(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._call(self._public, method, path, **options)

    async def _call(
        self, app: Any, method: str, path: str, *, key: str = "", host: str = "otp", **options: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8000") as client:
            return await client.request(method, path, headers=headers, **options)


@pytest.fixture
async def dev(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[DevApi]:
    """The listeners with `--host 0.0.0.0 --name otp`, on an empty Redis."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    kept = ensure_dev_secrets(tmp_path, KEY, lambda: generate_secret(os.urandom))
    everywhere = "0.0.0.0"  # noqa: S104  # nothing is bound
    service = ServiceSettings(host=everywhere, admin_host=everywhere, admin_hosts=("otp",))
    async with Application(create_dev_settings(service, server.url, kept)) as app:
        await app.begin_development()
        yield DevApi(app)


@pytest.mark.parametrize(("method", "path"), PRIVATE)
@pytest.mark.parametrize("key", ["", "nonsense"])
async def test_a_call_without_the_key_gets_no_code(
    dev: DevApi, method: str, path: str, key: str
) -> None:
    """A25: other machines and other containers reach this listener."""
    body: Any = {"json": {}} if method == "POST" else {}

    answer = await dev.call_admin(method, path, key=key, **body)

    assert 401 == answer.status_code


async def test_with_the_key_a_ci_job_reads_its_code_and_resets(dev: DevApi) -> None:
    """The same key as for issue and verify."""
    body = {"phone_number": NUMBER}
    issued = await dev.call_public("POST", "/v1/challenges", key=KEY, json=body)

    (message,) = (await dev.call_admin("GET", "/inbox.json", key=KEY)).json()
    enrolled = await dev.call_admin("POST", "/authenticator.json", key=KEY, json={"account": "u-1"})
    reset = await dev.call_admin("POST", "/reset", key=KEY, json={})

    assert (201, NUMBER) == (issued.status_code, message["to"])
    assert (201, 204) == (enrolled.status_code, reset.status_code)
    assert [] == (await dev.call_admin("GET", "/inbox.json", key=KEY)).json()


async def test_the_admin_listener_answers_to_its_names_alone(dev: DevApi) -> None:
    """DNS rebinding: a page under another name cannot even try keys."""
    for host, status in (
        ("otp", 200),
        ("localhost", 200),
        ("203.0.113.9", 200),
        ("evil.example", 400),
    ):
        assert status == (await dev.call_admin("GET", "/inbox", host=host)).status_code


@pytest.mark.parametrize("path", ["/inbox", "/authenticator"])
async def test_a_page_without_the_key_contains_no_code(dev: DevApi, path: str) -> None:
    """It asks for the key and then reads the data with it."""
    await dev.call_public("POST", "/v1/challenges", key=KEY, json={"phone_number": NUMBER})

    answer = await dev.call_admin("GET", path)

    assert 200 == answer.status_code
    assert 'id="access" hidden' in answer.text
    assert KEY not in answer.text
    assert NUMBER[-4:] not in answer.text.replace("+447700900123", "")


async def test_with_the_redis_of_another_mode_it_is_not_ready(
    dev: DevApi, server: EmbeddedServer
) -> None:
    """The mark may change after the start: then no balancer sends it calls."""
    assert 200 == (await dev.call_public("GET", "/health/ready")).status_code

    with redis_servers.open_client(server) as client:
        client.set(MODE_KEY, "live")

    assert 503 == (await dev.call_public("GET", "/health/ready")).status_code
