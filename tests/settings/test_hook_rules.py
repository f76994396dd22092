"""Hooks in a configuration: their tenant, their secrets, and what a tenant requires of them."""

import pytest

from otp_service.core.standard_webhook import decode_webhook_secret
from otp_service.hooks import Supabase
from otp_service.settings import find_errors, format_settings


SECRET = "worthless-secret-0123456789"
FIRST = "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"
SHOP = f"""
[tenants.shop]
brand = "Shop"
countries = ["GB"]
keys = [{{ id = "first", sha256 = "{FIRST}", scopes = ["challenges"] }}]
"""
GENERIC = 'type = "generic"\nphone_number = "to"\ncode = "code"'
WHSEC = f"whsec_{'ab/9' * 8}Zw=="
JOINED = f"whsec_{'B' * 32}|v1,{WHSEC}"


def add_hook(name="login", secret=SECRET, tenant="shop", kind='type = "zitadel"', more=""):
    """Return a hook as TOML."""
    secrets = f'secrets = {{ first = "{secret}" }}'
    return f'[hooks.{name}]\n{kind}\ntenant = "{tenant}"\n{secrets}\n{more}\n'


def list_issues(settings):
    """Return the settings of all errors."""
    return [issue.setting for issue in find_errors(settings)]


def test_a_secret_is_for_one_hook(load_config):
    """A captured request for one tenant's hook would be accepted by the other's."""
    both = add_hook() + add_hook("other", secret=SECRET[:-1] + "x") + add_hook("third")

    found = list_issues(load_config(extra=both))

    assert ["hooks.login.secrets", "hooks.third.secrets"] == found


@pytest.mark.parametrize("spelling", [JOINED, WHSEC.removesuffix("="), WHSEC.replace("/", "_")])
def test_a_secret_is_for_one_hook_however_it_is_written(load_config, spelling):
    """Both hooks verify with the bytes that it encodes."""
    webhooks = f'{GENERIC}\nauthentication = "standard-webhooks"'
    supabase = add_hook("supabase", f"v1,{spelling}", kind='type = "supabase"')

    found = list_issues(load_config(extra=supabase + add_hook("other", WHSEC, kind=webhooks)))

    assert ["hooks.supabase.secrets", "hooks.other.secrets"] == found


@pytest.mark.parametrize("ending", ["A", "A==", "==A"])
def test_a_secret_of_supabase_has_a_key(load_config, ending):
    """It may look like one and encode nothing: then every request would be 401."""
    secret = f"v1,whsec_{'A' * 32}{ending}"
    assert b"" == decode_webhook_secret(secret.removeprefix("v1,"))

    (issue,) = find_errors(load_config(extra=add_hook(secret=secret, kind='type = "supabase"')))

    assert "hooks.login.secrets.first" == issue.setting
    assert "A" * 32 not in issue.remedy


def test_a_tenant_with_a_hook_needs_no_api_key(load_config):
    """Supabase alone sends for it; a brand and countries are needed as for every message."""
    tenant = '[tenants.app]\nbrand = "App"\ncountries = ["GB"]\n'

    assert [] == list_issues(load_config(extra=SHOP + tenant + add_hook(tenant="app")))
    assert ["tenants.app.brand", "tenants.app.countries"] == list_issues(
        load_config(extra=SHOP + "[tenants.app]\n" + add_hook(tenant="app"))
    )


def test_a_tenant_with_a_hook_shares_with_the_others(load_config):
    """Its share of a country is that of a tenant that sends."""
    tenant = '[tenants.app]\nbrand = "App"\ncountries = ["GB"]\n'

    settings = load_config(extra=SHOP + tenant + add_hook(tenant="app"))

    assert 50 == settings.get_share_percent("app") == settings.get_share_percent("shop")


def test_the_purpose_is_one_of_the_tenants(load_config):
    """Every request would be 403 otherwise."""
    shop = SHOP.replace("keys", 'purposes = ["payment", "signup"]\nkeys')

    (found,) = find_errors(load_config(extra=shop + add_hook()))

    assert "hooks.login.purpose" == found.setting
    assert "payment, signup" in found.remedy
    more = 'purpose = "payment"'
    assert [] == find_errors(load_config(extra=shop + add_hook(more=more)))


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ('type = "zitadel"', ["account", "client_ip"]),
        ('type = "authgear"', ["account", "client_ip"]),
        (f'{GENERIC}\naccount = "user"', ["client_ip"]),
        (f'{GENERIC}\naccount = "user"\nclient_ip = "ip"', []),
    ],
)
def test_a_hook_has_what_its_tenant_requires(load_config, kind, missing):
    """A tenant may require members of each call, and some products have none of them."""
    shop = SHOP.replace("keys", 'requires = ["client_ip", "account"]\nkeys')

    found = find_errors(load_config(extra=shop + add_hook(kind=kind)))

    assert ["tenants.shop.requires"] * len(missing) == [issue.setting for issue in found]
    assert all(name in issue.remedy for name, issue in zip(missing, found, strict=True))


def test_supabase_has_an_account_and_mostly_an_address():
    """Unless its address is not the person's."""
    assert {"account", "client_ip"} == Supabase(tenant="a", secrets={}).provided_members
    assert {"account"} == Supabase(tenant="a", secrets={}, client_ip=False).provided_members


def test_no_secret_of_a_hook_is_shown(load_config):
    """`check` prints every setting."""
    printed = format_settings(load_config("working_everything"))

    assert "hooks.login.secrets.first" in printed
    assert "worthless" not in printed


def test_the_environment_sets_a_secret_of_a_hook(load_config):
    """As a file, with hyphens in both names."""
    environ = {"OTP_HOOKS__MY_LOGIN__SECRETS__NEXT_ONE_FILE": "worthless_password.txt"}

    settings = load_config(extra=add_hook("my-login"), environ=environ)

    assert {"first", "next-one"} == settings.hooks["my-login"].secrets.keys()
