"""The audit page as a browser uses it, without a browser."""

from urllib.parse import urlencode

import httpx

from tests.api.fakes import ApiHarness, to_plain_key


OURS = {"Sec-Fetch-Site": "same-origin"}


class Browser:
    """A browser: it stores the cookie, and sends the Origin or Referer of the page with a form."""

    def __init__(self, api: ApiHarness, host: str = "localhost") -> None:
        scheme = "http" if host == "localhost" else "https"
        transport = httpx.ASGITransport(api.admin)
        self.client = httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}")

    async def get(self, path: str, **more) -> httpx.Response:
        return await self.client.get(path, **more)

    async def send(self, path: str, headers=OURS, **fields: str) -> httpx.Response:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.client.post(path, content=urlencode(fields), headers=kind | headers)

    async def log_in(self, key: str = "security") -> httpx.Response:
        return await self.send("/audit/login", key=to_plain_key(key))


def search_for(**fields: str) -> dict[str, str]:
    """Return the search form as a browser sends it, with all of its fields."""
    names = ("number", "account", "reason", "challenge", "pseudonym", "client_ip", "type")
    return dict.fromkeys(names, "") | {"hours": "24"} | fields
