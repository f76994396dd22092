"""Who may read codes and reset data on the admin listener of a service for tests.

On loopback everyone on this machine may, as with the data folder of `dev`. Elsewhere a call needs an API
key, and sees only the messages of its tenant.
"""

from collections.abc import Awaitable, Callable

import msgspec

from otp_service.api.auth import authenticate_request
from otp_service.api.request_context import AnonymousRequest


class InboxAccess(msgspec.Struct, frozen=True):
    """Whether calls need an API key: always, except on a loopback address."""

    requires_key: bool = True

    @property
    def before_request(self) -> Callable[[AnonymousRequest], Awaitable[None]] | None:
        """The hook of each handler, which also needs `scopes`."""
        return authenticate_request if self.requires_key else None

    def get_visible_tenant(self, request: AnonymousRequest) -> str | None:
        """Return the tenant whose messages the call may read; None for all tenants."""
        if not self.requires_key:
            return None
        tenant: str = request.auth.tenant.name
        return tenant
