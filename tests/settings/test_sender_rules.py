"""Whether a route's providers have a sender for it, by the selection that a message makes (R44)."""

from itertools import product

import msgspec
import pytest

from otp_service.core.delivery import Message
from otp_service.core.phone_number import PhoneNumber
from otp_service.settings.provider_rules import find_errors
from otp_service.settings.sender_rules import find_numeric_sender_countries
from tests.sms.providers.contracts.clickatell import create_clickatell
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.contracts.twilio import create_twilio


ADDRESS = "https://sms.example"
NUMBER = "+12025550100"
ROUTES = ["US", "CA", "GB", "JM", "+1", "+12", "+1201", "+1416", "+14165", "+1876", "+44", "+1555"]
SENDERS = [{}, {"US": NUMBER}, {"CA": NUMBER}, {"US": NUMBER, "CA": "12345"}, {"GB": NUMBER}]

AWS_KEYS = 'region = "us-east-1", access_key_id = "a", secret_access_key = "b"'
TWILIO_KEYS = 'account_sid = "AC0123456789abcdef0123456789abcdef", auth_token = "t"'
POOLS = {
    "twilio": f'type = "twilio", {TWILIO_KEYS}, messaging_service_sid = "MG1"',
    "plivo": 'type = "plivo", auth_id = "a", auth_token = "t", powerpack_uuid = "p"',
    "telnyx": 'type = "telnyx", api_key = "k", messaging_profile_id = "p"',
    "aws": f'type = "aws", {AWS_KEYS}, pool = "pool-1"',
    "sns": f'type = "sns", {AWS_KEYS}',
    "clickatell": 'type = "clickatell", key = "k"',
    "sinch": 'type = "sinch", service_plan_id = "p", api_token = "t"',
}
WITHOUT_POOL = {
    "twilio": f'type = "twilio", {TWILIO_KEYS}',
    "plivo": 'type = "plivo", auth_id = "a", auth_token = "t"',
    "telnyx": 'type = "telnyx", api_key = "k"',
    "aws": f'type = "aws", {AWS_KEYS}',
    "vonage": 'type = "vonage", api_key = "a", api_secret = "b"',
    "kannel": 'type = "kannel", username = "u", password = "p"',
    "smpp": 'type = "smpp", host = "127.0.0.1", system_id = "s", password = "p"',
}


@pytest.fixture
def find_route_errors(find_config_errors):
    """Return the errors of a route to one provider, whose settings are given as TOML."""

    def find_all(settings: str, route: str) -> list[str]:
        extra = (
            f"[providers]\nacme = {{ {settings} }}\n"
            f'[routing]\nproviders = ["acme"]\nroutes = {{ "{route}" = ["acme"] }}\n'
        )
        return [str(issue) for issue in find_config_errors(extra=extra)]

    return find_all


@pytest.mark.parametrize("route", ["US", "CA", "+1", "+1201"])
@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("sender", ["", ', sender = "Example"'], ids=["none", "name"])
def test_a_pool_serves_every_country(find_route_errors, route, kind, sender):
    """The vendor selects the number; a name, if there is one, is used elsewhere."""
    assert [] == find_route_errors(POOLS[kind] + sender, route)


@pytest.mark.parametrize("route", ["US", "CA", "+1", "+1201", "+1416"])
@pytest.mark.parametrize("kind", WITHOUT_POOL)
def test_a_name_is_refused_where_only_numbers_are_senders(find_route_errors, route, kind):
    """A message there would have no sender."""
    settings = WITHOUT_POOL[kind] + ', sender = "Example"'

    (error,) = [each for each in find_route_errors(settings, route) if "routes" in each]

    missing = {"+1": "CA and US", "+1201": "US", "+1416": "CA"}.get(route, route)
    assert f"routing.routes.{route}: names acme, which has no sender for {missing}: set " in error
    assert all(f"senders.{country}" in error for country in missing.split(" and "))
    assert "senders.+1" not in error


@pytest.mark.parametrize("kind", WITHOUT_POOL)
@pytest.mark.parametrize(
    ("senders", "route"),
    [
        ('{ US = "+12025550100", CA = "+14165550100" }', "+1"),
        ('{ US = "+12025550100" }', "+1201"),
        ('{ CA = "12345" }', "+1416"),
        ('{ CA = "12345" }', "CA"),
    ],
)
def test_the_senders_that_the_remedy_names_are_enough(find_route_errors, senders, route, kind):
    """Senders are selected by country, for a route by prefix too."""
    settings = f'{WITHOUT_POOL[kind]}, sender = "Example", senders = {senders}'

    assert [] == find_route_errors(settings, route)


@pytest.mark.parametrize("key", ["+1", "us", "XX", "001"])
def test_a_sender_that_no_message_would_use_is_refused(find_route_errors, key):
    """Its key is not a country."""
    settings = (
        f'{WITHOUT_POOL["vonage"]}, sender = "Example", senders = {{ "{key}" = "+12025550100" }}'
    )

    (error,) = find_route_errors(settings, "GB")

    assert error.startswith(f"providers.acme.senders.{key}: name a country")


@pytest.mark.parametrize(
    "create",
    [create_clickatell, create_infobip, create_plivo, create_sinch, create_telnyx, create_twilio],
)
def test_check_refuses_what_sending_would_send_without_a_sender(create, load_config):
    """For each sender, senders and route: the check's answer is that of messages to real numbers."""
    base = load_config()
    for route, sender, senders in product(ROUTES, ["", "Example", NUMBER], SENDERS):
        provider = msgspec.structs.replace(create(ADDRESS), sender=sender, senders=senders)
        routing = msgspec.structs.replace(base.routing, providers=("a",), routes={route: ("a",)})
        settings = msgspec.structs.replace(base, providers={"a": provider}, routing=routing)
        errors = [str(each) for each in find_errors(settings) if "no sender" in each.remedy]

        unsent = {
            country
            for country in ("US", "CA")
            if has_number(country, route)
            and not provider.select_sender_id(build_message(country))
            and not provider.has_sender_pool
        }
        assert bool(unsent) == bool(errors), (route, sender, senders)
        assert all(country in errors[0] for country in unsent)


@pytest.mark.parametrize(
    ("prefix", "countries"),
    [
        ("+1", {"US", "CA"}),
        ("+12", {"US", "CA"}),
        ("+1201", {"US"}),
        ("+1201234567", {"US"}),
        ("+12012345678", {"US"}),
        ("+1416", {"CA"}),
        ("+1876", set()),
        ("+1555", set()),
        ("+11", set()),
        ("+44", set()),
        ("US", {"US"}),
        ("GB", set()),
        ("", set()),
    ],
)
def test_a_prefix_has_the_countries_of_its_numbers(prefix, countries):
    """+1 is one calling code of 25 countries."""
    assert countries == find_numeric_sender_countries(prefix)


def has_number(country: str, route: str) -> bool:
    """Whether a number of the country begins as the route says."""
    numbers = {"US": ["+12012345678", "+12122345678"], "CA": ["+14165345678", "+12042345678"]}
    return route == country or any(each.startswith(route) for each in numbers[country])


def build_message(country: str) -> Message:
    """Return a message to a number of the country, from a tenant with a name."""
    e164 = {"US": "+12012345678", "CA": "+14165345678"}[country]
    return Message(PhoneNumber(e164, country, 1), "text", "ref", 300, sender="Brand")
