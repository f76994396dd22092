"""Authentication: find the API key of a request, check its scopes, and set the caller.

`authenticate_request` runs before any other part of the request is read, the body above all. It is
a `before_request` hook and not a guard, because Litestar copies the route handler for each guard of
each request (17 us, measured).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from otp_service.api.request_context import AuthenticatedRequest, get_context, get_header_values
from otp_service.core.errors import Forbidden, OtpError, Unauthenticated
from otp_service.core.tenant import ApiKey, Scope, Tenant, hash_api_key
from otp_service.service import Caller


_BEARER_PATTERN: Final = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)


class ApiKeyRegistry:
    """All API keys by SHA-256. The time of a lookup reveals nothing about 256 random bits."""

    def __init__(
        self,
        keys: Sequence[ApiKey],
        tenants: Mapping[str, Tenant],
        count_denied_access: Callable[[str], None],
    ) -> None:
        self._keys_by_sha256 = {key.sha256: (key, tenants[key.tenant]) for key in keys}
        self._count_denied_access = count_denied_access

    def authorize_header(
        self, authorization: list[bytes], scopes: set[Scope], now: int
    ) -> tuple[ApiKey, Tenant]:
        """Return the key, which has at least one of the scopes, and its tenant.

        Raises Unauthenticated or Forbidden. These are counted: with an event for each one, an
        unauthenticated caller could fill the audit log.
        """
        match = _BEARER_PATTERN.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if match is None:
            raise self.count_denial("missing", Unauthenticated())
        return self.authorize_digest(hash_api_key(match[1].decode("ascii")), scopes, now)

    def authorize_digest(
        self, sha256: bytes, scopes: set[Scope], now: int
    ) -> tuple[ApiKey, Tenant]:
        """Return the key with this digest, as `authorize_header` does."""
        key, tenant = self.identify_digest(sha256, now)
        self.require_scope(key, scopes)
        return key, tenant

    def identify_digest(self, sha256: bytes, now: int) -> tuple[ApiKey, Tenant]:
        """Return the key with this digest, whatever its scopes. Raises Unauthenticated."""
        key, tenant = self._keys_by_sha256.get(sha256, (None, None))
        if key is None or tenant is None:
            raise self.count_denial("unknown", Unauthenticated())
        if key.expires_at is not None and now >= key.expires_at:
            error = Unauthenticated("This API key has expired. Use another key.")
            raise self.count_denial("expired", error)
        return key, tenant

    def require_scope(self, key: ApiKey, scopes: set[Scope]) -> None:
        """Raise Forbidden unless the key has one of the scopes."""
        if key.scopes.isdisjoint(scopes):
            raise self.count_denial("scope", Forbidden())

    def count_denial(self, reason: str, error: OtpError) -> OtpError:
        """Count a refusal, and return its error."""
        self._count_denied_access(reason)
        return error


async def authenticate_request(request: AuthenticatedRequest) -> None:
    """Set the caller from the API key, or raise Unauthenticated or Forbidden."""
    api_keys: ApiKeyRegistry = request.app.state.api_keys
    key, tenant = api_keys.authorize_header(
        get_header_values(request, b"authorization"),
        request.route_handler.opt["scopes"],
        get_context(request).now(),
    )
    set_caller(request, key, tenant)


def set_caller(request: AuthenticatedRequest, key: ApiKey, tenant: Tenant) -> None:
    """Set `request.user` to the key and `request.auth` to its `Caller`."""
    state = request.scope["state"]
    request.scope["user"] = key
    request.scope["auth"] = Caller(tenant, key.id, state["request"], state["trace"])
