"""Basic authentication: the account SID of a tenant, and one of its API keys as the auth token."""

import base64
import binascii
import re
from typing import Final

from otp_service.api.auth import ApiKeyRegistry, set_caller
from otp_service.api.request_context import (
    AuthenticatedRequest,
    get_context,
    get_header_values,
)
from otp_service.core.errors import Unauthenticated
from otp_service.core.tenant import Scope, hash_api_key


VERIFY_SCOPES: Final = {Scope.TWILIO_VERIFY}

CREDENTIALS_DETAIL: Final = (
    "Send the account SID of the tenant as the user name, and one of its API keys as the password."
)

_BASIC_PATTERN: Final = re.compile(rb"basic +([A-Za-z0-9+/=]+)", re.IGNORECASE)


async def authenticate_twilio_request(request: AuthenticatedRequest) -> None:
    """Set the caller from both parts of the credentials, which must be of one tenant.

    Raises Unauthenticated, and Forbidden for a key without the scope.
    """
    registry: ApiKeyRegistry = request.app.state.api_keys
    context = get_context(request)
    user_name, password = _parse_credentials(get_header_values(request, b"authorization"), registry)
    key, tenant = registry.identify_digest(hash_api_key(password), context.now())
    account = context.verify_accounts.get(tenant.name)
    if account is None or account.sid != user_name:
        raise registry.count_denial("unknown", Unauthenticated(CREDENTIALS_DETAIL))
    registry.require_scope(key, VERIFY_SCOPES)
    set_caller(request, key, tenant)


def _parse_credentials(authorization: list[bytes], registry: ApiKeyRegistry) -> tuple[str, str]:
    match = _BASIC_PATTERN.fullmatch(authorization[0]) if len(authorization) == 1 else None
    try:
        decoded = base64.b64decode(match[1], validate=True).decode("ascii") if match else ""
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    user_name, separator, password = decoded.partition(":")
    if not separator:
        raise registry.count_denial("missing", Unauthenticated(CREDENTIALS_DETAIL))
    return user_name, password
