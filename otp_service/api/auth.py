"""Who calls: the API key, what it may do, and the caller that the use cases are told of.

`authenticate` runs before anything else of a request is looked at, its body above all. It is a
`before_request` hook and no guard because Litestar copies the route handler for each guard of
each request (17 us, measured).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from otp_service.api.request_context import AuthenticatedRequest, get_context, get_header_values
from otp_service.core.errors import Forbidden, OtpError, Unauthenticated
from otp_service.core.tenant import ApiKey, Scope, Tenant, hash_api_key
from otp_service.service import Caller


_BEARER: Final = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)


class ApiKeyRegistry:
    """Every API key, found by its SHA-256: how long that takes says nothing of 256 random bits."""

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
        """Return the key, which has one of the scopes, and its tenant.

        Raises Unauthenticated or Forbidden, and counts that: an event for each would let anybody
        fill the audit log.
        """
        match = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if match is None:
            raise self._count_denial("missing", Unauthenticated())
        return self.authorize_digest(hash_api_key(match[1].decode("ascii")), scopes, now)

    def authorize_digest(
        self, sha256: bytes, scopes: set[Scope], now: int
    ) -> tuple[ApiKey, Tenant]:
        """Do the same for a key whose digest is known."""
        found = self._keys_by_sha256.get(sha256)
        if found is None:
            raise self._count_denial("unknown", Unauthenticated())
        key, _ = found
        if key.expires_at is not None and now >= key.expires_at:
            raise self._count_denial(
                "expired", Unauthenticated("This API key has expired. Use another.")
            )
        if key.scopes.isdisjoint(scopes):
            raise self._count_denial("scope", Forbidden())
        return found

    def _count_denial(self, reason: str, error: OtpError) -> OtpError:
        self._count_denied_access(reason)
        return error


async def authenticate_request(request: AuthenticatedRequest) -> None:
    """Let in who has a key with a scope of the route; the handler finds him in `request.auth`."""
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
