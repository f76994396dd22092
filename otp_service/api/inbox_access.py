"""Who may read codes and reset data on the admin listener of a service for tests.

On loopback everyone on this machine may, as with the data folder of `dev`. Elsewhere, and behind a proxy
that serves others, a call needs an API key, and sees only the messages of its tenant.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import msgspec

from otp_service.api.auth import authenticate_request
from otp_service.api.request_context import AnonymousRequest
from otp_service.core.ip_address import is_loopback


class InboxAccess(msgspec.Struct, frozen=True):
    """Whether calls need an API key: always, except where only this machine reaches the listener."""

    requires_key: bool = True

    @classmethod
    def for_listener(cls, host: str, names: Sequence[str], *, has_proxy: bool) -> Self:
        """Return the access on a listener at this host.

        On loopback, another name or a proxy means that others reach it through this machine.
        """
        hosts = (host, *names)
        return cls(requires_key=has_proxy or not all(map(is_loopback, hosts)))

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
