"""Rules for [providers] and [routing]: settings of each provider, and routes that name them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from otp_service.settings.country_codes import describe_unknown_countries
from otp_service.settings.decode import ConfigIssue, build_issues
from otp_service.settings.model import Settings
from otp_service.settings.sender_rules import find_sender_error
from otp_service.sms.inbound_token import find_inbound_token_errors
from otp_service.sms.provider_callbacks import Callback
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers import Provider
from otp_service.sms.providers.generic_http import GenericHttp
from otp_service.sms.providers.kannel import Kannel
from otp_service.sms.providers.messagebird import MessageBird
from otp_service.sms.providers.plivo import Plivo
from otp_service.sms.providers.sns import Sns
from otp_service.sms.providers.twilio import Twilio
from otp_service.sms.routes import Route
from otp_service.sms.validation import find_text_errors, find_tls_ca_errors, iterate_texts


ROUTE_PREFIX_PATTERN = re.compile(r"\+[1-9][0-9]{0,13}")

KANNEL_REPLY_REMEDY = (
    "is set: give the group sms-service of Kannel max-messages = 0. Without it Kannel sends an answer to each "
    "phone, also to one that has sent STOP (docs/inbound.md)"
)

REUSED_TEXT_REMEDY = "is the same as {}: generate one for this address alone, because addresses are in portals and logs"
SNS_REMEDY = "has no effect: SNS passes on no messages from phones. Remove it"
GATEWAY_REMEDY = (
    "is set, and no message from a phone is read: add a table `inbound`, which says where a message has its "
    "sender and its text (docs/http-gateways.md)"
)
SIGNED_REMEDY = (
    "has no effect: a message of this vendor needs its signature, and no other proof counts. Remove it "
    "(docs/inbound.md)"
)

ADDRESS_SIGNERS = (MessageBird, Plivo, Twilio)
"""Their signature covers the address that they call, as they know it."""
PUBLIC_URL_REMEDY = (
    "is missing: {} signs the address that it calls, so its messages from phones are refused, like STOP "
    "(docs/inbound.md). No receipts are requested either"
)

TOKEN_FIELDS = ("inbound_token", "previous_inbound_token")

UNSIGNED_CALLBACK = Callback("POST", "", {}, b"", 0)


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    providers, order = settings.providers, settings.routing.providers
    for name, provider in providers.items():
        yield from build_issues(f"providers.{name}", find_provider_errors(provider))
    yield from _check_reused_tokens(providers)
    if not providers:
        yield ConfigIssue("providers", "needs at least one provider to send messages")
    if not order and len(providers) > 1:
        yield ConfigIssue("routing.providers", "must state in which order the providers are tried")
    yield from _check_route(settings, "routing.providers", order)
    yield from _check_routes(settings)


def find_warnings(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield what no request shows: how a gateway treats our answers, and a secret that may be left over."""
    for name, provider in settings.providers.items():
        if remedy := _find_token_warning(provider):
            yield ConfigIssue(f"providers.{name}.inbound_token", remedy)
        if isinstance(provider, HttpSettings) and provider.previous_inbound_token:
            remedy = "is set: remove it once the vendor calls the address with inbound_token"
            yield ConfigIssue(f"providers.{name}.previous_inbound_token", remedy)
    if settings.service.public_url is None:
        yield from _find_address_warning(settings.providers)


def find_provider_errors(provider: Provider) -> list[tuple[str, str]]:
    """Return the errors of one provider: its own, and those of texts in its other fields."""
    ca_errors = find_tls_ca_errors(getattr(provider, "tls_ca", None))
    tokens = (getattr(provider, f"{prefix}inbound_token", None) for prefix in ("", "previous_"))
    own_errors = [*provider.find_errors(), *ca_errors, *find_inbound_token_errors(*tokens)]
    named = {field for field, _ in own_errors}
    return [*own_errors, *(each for each in find_text_errors(provider) if each[0] not in named)]


def _check_reused_tokens(providers: Mapping[str, Provider]) -> Iterator[ConfigIssue]:
    """Yield each secret of an address that another setting has, too.

    A party that knows it by the other one could send messages of this provider.
    """
    settings_by_text = defaultdict(list)
    for name, provider in providers.items():
        for path, text in iterate_texts(provider):
            settings_by_text[text].append((name, path))
    for users in settings_by_text.values():
        for name, path in users:
            # Both of one provider, where they are the same, have an error of their own.
            others = [user for user in users if user[0] != name or user[1] not in TOKEN_FIELDS]
            if path in TOKEN_FIELDS and others:
                other = ".".join(("providers", *others[0]))
                yield ConfigIssue(f"providers.{name}.{path}", REUSED_TEXT_REMEDY.format(other))


def _find_token_warning(provider: Provider) -> str | None:
    """Return the warning about the `inbound_token` of a provider; None without one."""
    if not isinstance(provider, HttpSettings) or provider.inbound_token is None:
        return None
    match provider:
        case Kannel():
            return KANNEL_REPLY_REMEDY
        case Sns():
            return SNS_REMEDY
        case GenericHttp():
            return None if provider.inbound else GATEWAY_REMEDY
        case Plivo():
            return None  # its older signature does not cover the message: both count together
        case _:
            return SIGNED_REMEDY if provider.requires_signature(UNSIGNED_CALLBACK) else None


def _find_address_warning(providers: Mapping[str, Provider]) -> Iterator[ConfigIssue]:
    for name, provider in providers.items():
        if isinstance(provider, ADDRESS_SIGNERS) and provider.requires_signature(UNSIGNED_CALLBACK):
            yield ConfigIssue("service.public_url", PUBLIC_URL_REMEDY.format(f"providers.{name}"))
            return


def _check_routes(settings: Settings) -> Iterator[ConfigIssue]:
    for destination, route in settings.routing.routes.items():
        path = f"routing.routes.{destination}"
        unknown = describe_unknown_countries([destination])
        if unknown and not ROUTE_PREFIX_PATTERN.fullmatch(destination):
            remedy = f"must be a country like GB or a number prefix like +4474, not {unknown}"
            yield ConfigIssue(path, remedy)
        if not route:
            yield ConfigIssue(path, "is empty: name providers or remove the route")
        yield from _check_route(settings, path, route, destination)


def _check_route(
    settings: Settings, path: str, route: Route, destination: str = ""
) -> Iterator[ConfigIssue]:
    for name in sorted(set(route) - settings.providers.keys()):
        yield ConfigIssue(path, f"names {name}, but there is no providers.{name}")
    if isinstance(route, dict) and any(share < 1 for share in route.values()):
        yield ConfigIssue(path, "has a share under 1: remove that provider")
    for name in sorted(set(route) & settings.providers.keys()):
        yield from find_sender_error(path, name, settings.providers[name], destination)
