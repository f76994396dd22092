"""Moving authenticators in and out: JSON lines to sealed tokens and back, for the command line.

    import   {"account": "u-81", "secret": "BASE32"}       → {"account": …, "authenticator": "a1.…"}
    export   {"authenticator": "a1.…"}                     → {"account": …, "secret": "BASE32", …}
    reseal   {"authenticator": "a1.…", "recovery_set": …}  → the same, sealed under the current key

The key ring alone is needed. An error names members of a line and never repeats a value, which may
be a secret.
"""

import re
from collections.abc import Callable

import msgspec

from otp_service.core.authenticator import (
    AUTHENTICATOR_ID_BYTES,
    MIN_SECRET_BITS,
    Authenticator,
    check_secret_length,
    decode_authenticator,
    parse_base32_secret,
)
from otp_service.core.json_lines import InvalidLine, Members, convert_members, parse_json_line
from otp_service.core.otpauth_uri import (
    URI_PREFIX,
    AuthenticatorParameters,
    parse_algorithm,
    parse_digits,
    parse_otpauth_uri,
    parse_period,
)
from otp_service.core.sealed_token import InvalidToken, OpenedToken, TokenCipher, TokenKind
from otp_service.core.timestamps import format_rfc3339


MAX_ACCOUNT_CHARS = 128

TOKEN_MEMBERS = {
    "authenticator": TokenKind.AUTHENTICATOR,
    "recovery_set": TokenKind.RECOVERY_SET,
}
"""The members of a line that hold a token; the names are those of the API."""


class ImportLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members of a line to import. An export writes them too, so that it can be imported."""

    account: str
    secret: str
    """Base32, hexadecimal with a flag, or an `otpauth://` URI, which has the parameters itself."""
    algorithm: str = "SHA1"
    digits: int = 6
    period: int = 30
    tenant: str | None = None
    created_at: str | None = None
    """Ignored, like the next one: what is imported is confirmed by the import."""
    confirmed_at: str | None = None

    def __repr__(self) -> str:
        return "ImportLine()"


# ---------------------------------------------------------------------------------------- import


def parse_import_line(
    text: str, tenant: str, *, is_hex: bool
) -> tuple[str, AuthenticatorParameters]:
    """Return account and parameters. Raises InvalidLine, also for a secret of under 112 bits."""
    members = {name: value for name, value in parse_json_line(text).items() if value is not None}
    line = convert_members(members, ImportLine)
    if line.tenant not in {None, tenant}:
        raise InvalidLine("tenant is not that of --tenant")
    if not is_valid_account(line.account):
        raise InvalidLine(f"account must have 1 to {MAX_ACCOUNT_CHARS} characters, without NUL")
    is_uri = line.secret[: len(URI_PREFIX)].lower() == URI_PREFIX
    if is_uri and members.keys() & {"algorithm", "digits", "period"}:
        raise InvalidLine("secret is a URI: leave out algorithm, digits and period")
    try:
        if is_uri:
            return line.account, parse_otpauth_uri(line.secret, MIN_SECRET_BITS)
        return line.account, _parse_parameters(line, is_hex=is_hex)
    except ValueError as error:
        raise InvalidLine(str(error)) from None


def _parse_parameters(line: ImportLine, *, is_hex: bool) -> AuthenticatorParameters:
    parse_secret = _parse_hex_secret if is_hex else _parse_base32_secret
    return AuthenticatorParameters(
        secret=parse_secret(line.secret),
        algorithm=parse_algorithm(line.algorithm),
        digits=parse_digits(line.digits),
        period=parse_period(line.period),
    )


def _parse_base32_secret(text: str) -> bytes:
    try:
        return parse_base32_secret(text, MIN_SECRET_BITS)
    except ValueError as error:
        is_hex = re.fullmatch("([0-9A-Fa-f]{2})+", text)
        raise InvalidLine(
            f"secret {error}{'; --hex reads hexadecimal' if is_hex else ''}"
        ) from None


def _parse_hex_secret(text: str) -> bytes:
    if not re.fullmatch("([0-9A-Fa-f]{2})+", text):
        raise InvalidLine(
            "secret must be hexadecimal: an even number of the digits 0 to 9 and a to f"
        )
    secret = bytes.fromhex(text)
    try:
        check_secret_length(secret, MIN_SECRET_BITS)
    except ValueError as error:
        raise InvalidLine(f"secret {error}") from None
    return secret


def is_valid_account(text: str) -> bool:
    """Return whether the text can be an `account` of the API."""
    has_surrogate = any("\ud800" <= char <= "\udfff" for char in text)
    return 0 < len(text) <= MAX_ACCOUNT_CHARS and "\0" not in text and not has_surrogate


def import_authenticator(
    token_bytes: Callable[[int], bytes],
    tenant: str,
    account: str,
    parameters: AuthenticatorParameters,
    now: int,
) -> Authenticator:
    """Return an active authenticator for a secret of another system.

    The step after the present one counts as its confirming step, so that no code that the other
    system has seen is accepted here. An import may be repeated: the last step is that of the
    secret (`Authenticator.state_id`), so a used code is used with both tokens.
    """
    authenticator = Authenticator(
        id=token_bytes(AUTHENTICATOR_ID_BYTES),
        tenant=tenant,
        account=account,
        secret=parameters.secret,
        algorithm=parameters.algorithm,
        digits=parameters.digits,
        period=parameters.period,
        created_at=now,
    )
    return authenticator.confirm(authenticator.compute_step(now) + 1, now)


# ----------------------------------------------------------------------------- export and reseal


def export_line(cipher: TokenCipher, text: str) -> Members:
    """Return the secret of a line's authenticator, in the form that an import reads.

    Raises InvalidLine, also if it is unconfirmed: no app may have its secret.
    """
    members = parse_json_line(text)
    token = _get_token(members, "authenticator")
    try:
        authenticator, _ = decode_authenticator(cipher, token)
    except InvalidToken:
        raise _build_token_error("authenticator") from None
    _check_account(members, authenticator.account)
    if authenticator.confirmed_at is None:
        raise InvalidLine("authenticator is unconfirmed: no app may have its secret")
    return {
        "tenant": authenticator.tenant,
        "account": authenticator.account,
        "secret": authenticator.base32_secret,
        "algorithm": authenticator.algorithm.upper(),
        "digits": authenticator.digits,
        "period": authenticator.period,
        "created_at": format_rfc3339(authenticator.created_at),
        "confirmed_at": format_rfc3339(authenticator.confirmed_at),
    }


def _check_account(members: Members, account: str) -> None:
    """Raise InvalidLine if the line names another account: then the columns were mixed up."""
    if members.get("account", account) != account:
        raise InvalidLine("account is not that of the authenticator's token")


def reseal_line(cipher: TokenCipher, text: str) -> tuple[Members, int]:
    """Return the line with its tokens under the current key, and how many were under another one.

    A token under the current key and every other member stay as they are. Raises InvalidLine.
    """
    members = parse_json_line(text)
    if not members.keys() & TOKEN_MEMBERS.keys():
        raise InvalidLine(f"must have a member {' or '.join(TOKEN_MEMBERS)}")
    resealed = 0
    for name, kind in TOKEN_MEMBERS.items():
        if members.get(name) is None:
            continue
        opened = _open_token(cipher, kind, members, name)
        if opened.key_id != cipher.current_key_id:
            members[name] = cipher.seal(kind, opened.body)
            resealed += 1
    return members, resealed


def _open_token(cipher: TokenCipher, kind: TokenKind, members: Members, name: str) -> OpenedToken:
    try:
        return cipher.open(kind, _get_token(members, name))
    except InvalidToken:
        raise _build_token_error(name) from None


def _get_token(members: Members, name: str) -> str:
    token = members.get(name)
    if not isinstance(token, str):
        raise InvalidLine(f"must have the member {name}, a token")
    return token


def _build_token_error(name: str) -> InvalidLine:
    return InvalidLine(
        f"{name} is not a token that a key of [keys] has sealed: it was altered, cut off, or its key"
        " was removed"
    )
