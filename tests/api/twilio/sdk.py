"""Twilio's own client for Python, unchanged, in front of the application in this process."""

import secrets
from collections.abc import Mapping
from typing import Any

import httpx
from msgspec.structs import replace
from twilio.base.exceptions import TwilioRestException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from otp_service.core.tenant import ApiKey, Scope, hash_api_key
from otp_service.core.verify_service import RateLimitField, VerifyAccount, VerifyService
from tests.api.fakes import ApiHarness
from tests.installation import Installation


PUBLIC_URL = "https://otp.example.com"
NUMBER = "+447400100200"
"""Another one than that of examples in error texts."""
RATE_LIMITS: Mapping[str, RateLimitField] = {"end_user_ip": "client_ip", "user": "account"}
ACCOUNTS = {
    name: VerifyAccount(
        f"AC{digit * 32}",
        {
            sid: VerifyService(sid, f"{name} {i}", rate_limits=RATE_LIMITS)
            for i, sid in enumerate((f"VA{digit * 32}", f"VA{digit * 31}e", f"VA{digit * 31}f"))
        },
    )
    for name, digit in (("shop", "1"), ("bank", "2"))
}
SHOP_SERVICE, OTHER_SERVICE, _ = ACCOUNTS["shop"].services
BANK_SERVICE = next(iter(ACCOUNTS["bank"].services))


class AsgiHttpClient(AsyncHttpClient):  # type: ignore[misc]  # it has no types
    """The transport of the SDK: requests go to an application, and are recorded."""

    def __init__(self, app: Any) -> None:
        super().__init__(None, is_async=True, timeout=None)
        self._app = app
        self.urls: list[str] = []
        self.last: httpx.Response | None = None

    async def request(  # noqa: PLR0913, PLR0917  # as its base class
        self,
        method: str,
        uri: str,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        auth: Any = None,
        timeout: Any = None,  # noqa: ASYNC109  # as the SDK passes it
        allow_redirects: Any = False,  # noqa: FBT002  # see timeout
    ) -> Response:
        """Send the request as `requests` or `aiohttp` would."""
        assert not allow_redirects
        assert timeout is None
        self.urls.append(uri)
        given = {k: v for k, v in (data or {}).items() if v is not None}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app)) as http:
            self.last = await http.request(
                method, uri, params=params, data=given, headers=headers, auth=auth
            )
        return Response(self.last.status_code, self.last.text, self.last.headers)


class VerifyHarness:
    """An installation with Twilio's API for two tenants, and a client of each.

    `changes` are those of the tenant `shop`.
    """

    def __init__(
        self, installation: Installation, public_url: str = PUBLIC_URL, **changes: Any
    ) -> None:
        self.installation = installation
        self.keys = {
            f"{tenant}-{scope}": secrets.token_urlsafe(32)
            for tenant in ACCOUNTS
            for scope in (Scope.TWILIO_VERIFY, Scope.CHALLENGES)
        }
        keys = [
            ApiKey(name, name.partition("-")[0], hash_api_key(key), frozenset({_read_scope(name)}))
            for name, key in self.keys.items()
        ]
        self.api = ApiHarness(
            service=installation.service,
            api_keys=keys,
            tenants={
                **installation.tenants,
                "shop": replace(installation.tenants["shop"], **changes),
            },
            verify_accounts=ACCOUNTS,
            public_url=public_url,
        )

    def create_client(self, tenant: str = "shop", key: str | None = None) -> Client:
        """Return the SDK's client of a tenant, pointed here by its one line."""
        token = self.keys[key or f"{tenant}-{Scope.TWILIO_VERIFY}"]
        client = Client(ACCOUNTS[tenant].sid, token, http_client=AsgiHttpClient(self.api.public))
        client.verify.base_url = f"{PUBLIC_URL}/twilio"
        return client

    def get_service(self, service: str = SHOP_SERVICE, tenant: str = "shop") -> Any:
        """Return the SDK's context of a Verify Service."""
        return self.create_client(tenant).verify.v2.services(service)

    async def start(self, to: str = NUMBER, **fields: Any) -> Any:
        """Start a verification."""
        return await self.get_service().verifications.create_async(to=to, channel="sms", **fields)

    async def check(self, code: str, **fields: Any) -> Any:
        """Check a code, of NUMBER unless another field says which."""
        given = fields or {"to": NUMBER}
        return await self.get_service().verification_checks.create_async(code=code, **given)

    def pass_cooldown(self) -> None:
        """Move the clock beyond the cooldown of a number."""
        self.installation.advance_clock(31_000)

    async def send_form(self, path: str, form: str | None, **more: Any) -> httpx.Response:
        """Send a form as it is, or without one get something."""
        sid, key = ACCOUNTS["shop"].sid, self.keys["shop-twilio-verify"]
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | more.pop("headers", {})
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.api.public), base_url=PUBLIC_URL
        ) as http:
            method = more.pop("method", "GET" if form is None else "POST")
            more.setdefault("auth", (sid, key))
            return await http.request(
                method, f"/twilio/v2{path}", content=form, headers=headers, **more
            )


def _read_scope(key_name: str) -> Scope:
    return Scope(key_name.partition("-")[2])


async def catch(call: Any) -> TwilioRestException:
    """Return the exception of a call, which is of the class that applications catch."""
    try:
        result = await call
    except TwilioRestException as error:
        return error
    raise AssertionError(f"no exception but {result}")
