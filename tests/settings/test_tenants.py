"""Tenants that send nothing: the security team and operators."""

import pytest

from otp_service.clock import now_ms
from otp_service.settings import find_errors
from otp_service.settings.rules import find_warnings


SHA256 = "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"


def add_tenant(*scopes, more=""):
    """Return a tenant with one key of these scopes, as TOML."""
    names = ", ".join(f'"{scope}"' for scope in scopes)
    key = f'{{ id = "k", sha256 = "{SHA256}", scopes = [{names}] }}'
    return f"[tenants.security]\n{more}\nkeys = [{key}]\n"


@pytest.mark.parametrize(
    "scopes", [["audit-all"], ["operator"], ["audit"], ["audit-all", "operator", "audit"]]
)
def test_a_tenant_that_sends_nothing_needs_no_brand_and_no_countries(load_config, scopes):
    """Before, the security team had to invent a brand, and a country to send to."""
    settings = load_config(extra=add_tenant(*scopes))

    assert [] == find_errors(settings)
    assert "security" == settings.build_tenants()["security"].brand
    assert "security" == settings.create_message_renderer("security").brand


@pytest.mark.parametrize("scopes", [["challenges"], ["operator", "challenges"]])
def test_a_tenant_that_can_send_needs_both(load_config, scopes):
    """What is missing is named together."""
    found = [issue.setting for issue in find_errors(load_config(extra=add_tenant(*scopes)))]

    assert ["tenants.security.brand", "tenants.security.countries"] == found


def test_a_tenant_without_a_key_is_told_everything_at_once(load_config):
    """Most tenants send, so it is not told of its brand only after it has its key."""
    found = [issue.setting for issue in find_errors(load_config(extra="[tenants.new]\n"))]

    assert ["tenants.new.keys", "tenants.new.brand", "tenants.new.countries"] == found


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ('brand = "a@b"', "brand"),
        ('countries = ["UK"]', "countries"),
        ('sender = "Twelve letters"', "sender"),
    ],
)
def test_what_a_tenant_that_sends_nothing_has_written_is_checked(load_config, more, setting):
    """It may get a key that sends later."""
    found = find_errors(load_config(extra=add_tenant("audit-all", more=more)))

    assert [f"tenants.security.{setting}"] == [issue.setting for issue in found]


@pytest.mark.parametrize(
    ("scopes", "letters", "brand", "is_too_long"),
    [
        (["challenges"], False, "Sixteen long bra", False),
        (["challenges", "deliver"], False, "Sixteen long bra", True),
        (["deliver"], False, "Short", False),
        (["deliver"], True, "Short", False),
    ],
)
def test_messages_of_delivered_codes_fit_one_sms(load_config, scopes, letters, brand, is_too_long):
    """R39: 8 digits, or 10 letters, and 60 minutes, where a key of the tenant delivers codes."""
    more = f'brand = "{brand}"\ncountries = ["GB"]\ndelivery_letters = {str(letters).lower()}\n'
    found = find_errors(load_config(extra=add_tenant(*scopes, more=more)))

    assert is_too_long == any("too long" in issue.remedy for issue in found), found


def test_letters_without_a_way_to_deliver_are_a_warning(load_config):
    """A setting without an effect is a misunderstanding."""
    text = 'brand = "Short"\ncountries = ["GB"]\ndelivery_letters = true\n'

    def list_warnings(scope):
        settings = load_config(extra=add_tenant(scope, more=text))
        return [issue.setting for issue in find_warnings(settings, now_ms())]

    assert "tenants.security.delivery_letters" in list_warnings("challenges")
    assert "tenants.security.delivery_letters" not in list_warnings("deliver")


def test_a_key_of_deliveries_should_unlock_nothing(load_config):
    """A product that only sends its codes is on another machine, and is broken into there."""
    text = 'brand = "Short"\ncountries = ["GB"]\n'
    settings = load_config(extra=add_tenant("deliver", "operator", more=text))

    assert "tenants.security.keys.k" in [
        issue.setting for issue in find_warnings(settings, now_ms())
    ]
