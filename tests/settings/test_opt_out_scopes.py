"""Which tenant an opt-out is for, as it follows from the settings."""

import pytest

from otp_service.core.do_not_send import ALL_TENANTS
from otp_service.core.opt_out_scope import choose_scope


SHA256 = "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"


def add_tenant(name: str, *, scope: str = "challenges", sender: str = "") -> str:
    """Return a tenant with one key, as TOML."""
    own = f'sender = "{sender}"\n' if sender else ""
    key = f'{{ id = "k", sha256 = "{SHA256}", scopes = ["{scope}"] }}'
    return f'[tenants.{name}]\nbrand = "B"\ncountries = ["GB"]\n{own}keys = [{key}]\n'


def add_provider(sender: str = "+447400999009", country_sender: str = "+447400999008") -> str:
    """Return a gateway with senders of its own, as TOML."""
    return (
        '[providers.extra]\ntype = "http"\nurl = "https://sms.example/send"\nmessage_id = "id"\n'
        f'fields = {{ to = "{{to}}", text = "{{text}}", from = "{{from}}" }}\nsender = "{sender}"\n'
        f'senders = {{ US = "{country_sender}" }}\n'
    )


def test_the_only_tenant_that_sends_is_the_scope(load_config):
    """A tenant that reads the log alone sends no message that anyone could answer."""
    settings = load_config(extra=add_tenant("first") + add_tenant("security", scope="audit-all"))

    scopes = settings.build_opt_out_scopes()

    assert "first" == choose_scope(scopes, "447400999001") == choose_scope(scopes, "")


def test_a_second_tenant_that_sends_makes_opt_outs_hold_for_all_tenants(load_config):
    """But for those that answer the sender of one tenant."""
    settings = load_config(extra=add_tenant("first") + add_tenant("second", sender="+447400999001"))

    scopes = settings.build_opt_out_scopes()

    assert ("second", ALL_TENANTS) == (
        choose_scope(scopes, "447400999001"),
        choose_scope(scopes, "447400999002"),
    )


@pytest.mark.parametrize(
    "provider", [add_provider(sender="+447400999001"), add_provider(country_sender="+447400999001")]
)
def test_the_sender_of_a_provider_belongs_to_no_tenant(load_config, provider):
    """Messages of every tenant without a sender have it."""
    tenants = add_tenant("first") + add_tenant("second", sender="+447400999001")
    settings = load_config(extra=tenants + provider)

    assert ALL_TENANTS == choose_scope(settings.build_opt_out_scopes(), "447400999001")
