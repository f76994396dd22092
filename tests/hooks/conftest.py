"""A whole service in this process with a hook for each product, on a real Redis."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from otp_service.app import Application, create_public_app
from otp_service.clock import now_ms
from otp_service.core.keys import generate_secret
from otp_service.settings.development import (
    DEV_TENANT,
    DevOptions,
    create_dev_settings,
    ensure_dev_secrets,
)
from otp_service.settings.service_tables import ServiceSettings
from otp_service.store.embedded import EmbeddedServer
from tests.hooks.products import PRODUCTS, read_request
from tests.store import redis_servers


TIMED = ("supabase", "zitadel", "standard-webhooks")


class HookService:
    """The service with its inbox, and the products that call it."""

    def __init__(self, app: Application, server: EmbeddedServer) -> None:
        self.app, self.server = app, server
        self._public: Any = create_public_app(app)
        self.reader = self._public.state.context.reader

    async def call(
        self, name: str, body: bytes | None = None, headers: Any = None, **signing: Any
    ) -> httpx.Response:
        """Send a request to the hook of this product, by default its real one, signed now."""
        content = read_request(PRODUCTS[name].request) if body is None else body
        if name in TIMED:
            signing.setdefault("at", now_ms() / 1000)
        signed = PRODUCTS[name].sign(content, **signing) if headers is None else headers
        transport = httpx.ASGITransport(self._public)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(f"/v1/hooks/{name}", content=content, headers=signed)

    async def list_texts(self) -> list[str]:
        """Return the texts in the inbox, newest first."""
        assert self.app.inbox is not None
        return [message.text for message in await self.app.inbox.list_messages()]

    async def list_events(self) -> list[dict[str, Any]]:
        """Return all events, newest first."""
        events, _ = await self.reader.read_page(limit=100)
        return list(events)

    def list_keys(self) -> list[str]:
        """Return the names of all keys in Redis."""
        with redis_servers.open_client(self.server) as client:
            return sorted(key.decode() for key in client.scan_iter("*"))


@pytest.fixture
async def service(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[HookService]:
    """Return the service with production limits, on an empty Redis."""
    redis_servers.flush_server(server)
    kept = ensure_dev_secrets(tmp_path, None, lambda: generate_secret(os.urandom))
    settings = create_dev_settings(
        ServiceSettings(), server.url, kept, options=DevOptions(has_relaxed_limits=False)
    )
    # On a busy machine a call may take longer than a product waits.
    hooks = {
        name: replace(product.hook, tenant=DEV_TENANT, answer_seconds=30.0)
        for name, product in PRODUCTS.items()
    }
    settings = replace(settings, hooks=hooks, hash=replace(settings.hash, max_prepared_codes=0))
    async with Application(settings) as app:
        yield HookService(app, server)
