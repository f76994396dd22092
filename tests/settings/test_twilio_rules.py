"""[tenants.NAME.twilio_verify]: what would refuse Twilio's clients, or confuse two tenants."""

import pytest

from otp_service.core.verify_service import VerifyAccount, VerifyService
from otp_service.settings import SettingsError, find_errors, find_warnings
from otp_service.settings.development import DEV_ACCOUNT_SID, DEV_SERVICE_SID


ACCOUNT_SID = f"AC{'1f' * 16}"
SERVICE_SID = f"VA{'1f' * 16}"
PUBLIC_URL = {"OTP_SERVICE__PUBLIC_URL": "https://otp.example.com"}


def find(load_config, table: str, **environ: str) -> list[tuple[str, str]]:
    """Return the errors of a configuration whose tenant has this `twilio_verify`."""
    variables = {"OTP_TENANTS__SHOP__TWILIO_VERIFY": table, **PUBLIC_URL, **environ}
    found = find_errors(load_config(environ=variables))
    return [(each.setting.removeprefix("tenants.shop."), each.remedy) for each in found]


def test_a_verify_service_has_defaults(load_config) -> None:
    """Twilio's ten minutes, the brand as its name, and the purpose of a login."""
    table = f'{{account_sid = "{ACCOUNT_SID}", services = {{{SERVICE_SID} = {{}}}}}}'
    settings = load_config(environ={"OTP_TENANTS__SHOP__TWILIO_VERIFY": table, **PUBLIC_URL})

    service = VerifyService(SERVICE_SID, "Shop", 600, "login", {})

    assert [] == find_errors(settings)
    assert {
        "shop": VerifyAccount(ACCOUNT_SID, {SERVICE_SID: service})
    } == settings.build_verify_accounts()


def test_every_setting_of_it_can_be_given(load_config) -> None:
    """As in the file of the tests that has every setting."""
    accounts = load_config("working_everything").build_verify_accounts()

    (service,) = accounts["my-shop"].services.values()

    assert ("My login", 120, "payment") == (
        service.friendly_name,
        service.lifetime,
        service.purpose,
    )
    assert {"end_user_ip": "client_ip", "user": "account"} == service.rate_limits


@pytest.mark.parametrize("lifetime", [59, 601])
def test_a_lifetime_has_the_bounds_of_the_policy(load_config, lifetime: int) -> None:
    """Longer is refused by NIST, and by what Redis keeps."""
    service = f"{{{SERVICE_SID} = {{lifetime = {lifetime}}}}}"

    found = find(load_config, f'{{account_sid = "{ACCOUNT_SID}", services = {service}}}')

    assert [
        (f"twilio_verify.services.{SERVICE_SID}.lifetime", "must be from 60 to 600 seconds")
    ] == found


def test_an_account_needs_a_verify_service(load_config) -> None:
    """Every call names one."""
    found = find(load_config, f'{{account_sid = "{ACCOUNT_SID}"}}')

    assert ["twilio_verify.services"] == [setting for setting, _ in found]


def test_a_purpose_is_one_of_the_tenant(load_config) -> None:
    """Every start would be 403."""
    service = f'{{{SERVICE_SID} = {{purpose = "payment"}}}}'
    table = f'{{account_sid = "{ACCOUNT_SID}", services = {service}}}'

    found = find(load_config, table, OTP_TENANTS__SHOP__PURPOSES='["login"]')

    assert [f"twilio_verify.services.{SERVICE_SID}.purpose"] == [setting for setting, _ in found]


def test_members_that_no_check_has_cannot_be_required(load_config) -> None:
    """Every check would be 400."""
    table = f'{{account_sid = "{ACCOUNT_SID}", services = {{{SERVICE_SID} = {{}}}}}}'

    found = find(load_config, table, OTP_TENANTS__SHOP__REQUIRES='["client_ip"]')

    assert ["requires"] == [setting for setting, _ in found]


def test_two_tenants_have_two_accounts(load_config) -> None:
    """The user name of a call names one tenant."""
    table = f'{{account_sid = "{ACCOUNT_SID}", services = {{{SERVICE_SID} = {{}}}}}}'
    key = '{id = "k", sha256 = "2b3b914d3fac567dddf2f1d4ebee3888769ca2c9ef8452f1040c2cbc8ca14a10"'
    other = f'{{brand = "B", countries = ["GB"], keys = [{key}, scopes = ["twilio-verify"]}}]'

    found = find(load_config, table, OTP_TENANTS__BANK=f"{other}, twilio_verify = {table}}}")

    assert {"twilio_verify.account_sid", "tenants.bank.twilio_verify.account_sid"} == {
        setting for setting, _ in found
    }


@pytest.mark.parametrize("scope", ["operator", "audit-all"])
def test_a_key_of_logins_and_operators_is_warned_of(load_config, now_ms: int, scope: str) -> None:
    """As with the scope of our own API."""
    table = f'{{account_sid = "{ACCOUNT_SID}", services = {{{SERVICE_SID} = {{}}}}}}'
    sha256 = "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"
    keys = f'[{{id = "k", sha256 = "{sha256}", scopes = ["twilio-verify", "{scope}"]}}]'

    variables = {"OTP_TENANTS__SHOP__TWILIO_VERIFY": table, **PUBLIC_URL}
    settings = load_config(environ={**variables, "OTP_TENANTS__SHOP__KEYS": keys})

    assert "tenants.shop.keys.k" in {each.setting for each in find_warnings(settings, now_ms)}


@pytest.mark.parametrize("sid", ["VA0", f"VA{'1F' * 16}", f"AC{'1f' * 16}"])
def test_an_invalid_id_is_refused(load_config, sid: str) -> None:
    """Twilio's form: two letters and 32 lower-case hexadecimal digits."""
    with pytest.raises(SettingsError, match="must be VA and 32 lower-case hexadecimal digits"):
        find(load_config, f'{{account_sid = "{ACCOUNT_SID}", services = {{{sid} = {{}}}}}}')


def test_the_ids_of_development_have_32_zeros() -> None:
    """What the documentation and `make run` print."""
    assert ("AC" + "0" * 32, "VA" + "0" * 32) == (DEV_ACCOUNT_SID, DEV_SERVICE_SID)
