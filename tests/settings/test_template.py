"""What `init` writes."""

import base64
import os
import re
import tomllib

import pytest

from otp_service.core.keys import generate_secret
from otp_service.core.limits import DEFAULT_LIMITS
from otp_service.core.tenant import TENANT_NAME_PATTERN, hash_api_key
from otp_service.settings import find_errors, find_warnings, load_settings, render_config
from otp_service.settings.template import quote_toml


@pytest.fixture
def written():
    """A new configuration, as `init` writes it, and its API key."""

    def write(**changes):
        values = {
            "tenant": "shop",
            "brand": 'The "Shop"',
            "countries": ["GB", "IE"],
            "generate_token": lambda: generate_secret(os.urandom),
        }
        return render_config(**(values | changes))

    return write


def test_it_loads_and_only_the_address_of_the_provider_is_missing(written):
    """Nothing is sent by mistake, and the errors of `check` list the missing setting."""
    text, _ = written()

    found = find_errors(load_settings(text, {}, str, cores=2))

    assert ["providers.gateway.url"] == [fault.setting for fault in found]


def test_with_the_address_it_is_safe(written):
    """Filled in by hand or by the environment, there is nothing left to refuse."""
    by_hand, _ = written(provider_url="https://sms.example/messages")
    text, _ = written()
    environ = {"OTP_PROVIDERS__GATEWAY__URL": "https://sms.example/messages"}

    assert [] == find_errors(load_settings(by_hand, {}, str, cores=2))
    assert [] == find_errors(load_settings(text, environ, str, cores=2))


def test_the_api_key_is_returned_once_and_only_its_hash_is_written(written):
    """A reader of the file cannot call the API."""
    text, api_key = written()

    (known,) = load_settings(text, {}, str, cores=2).build_api_keys()

    assert api_key not in text
    assert hash_api_key(api_key) == known.sha256


def test_no_two_secrets_are_the_same(written):
    """Each secret is generated separately."""
    made = []

    def token() -> str:
        made.append(generate_secret(os.urandom))
        return made[-1]

    text, api_key = written(generate_token=token)

    assert 7 == len(set(made))
    assert [api_key] == [secret for secret in made if secret not in text]


def test_what_it_says_of_the_defaults_is_so(written, load_config):
    """A setting in the template has the value of its default."""
    text, _ = written(provider_url="https://sms.example/messages")
    settings, least = load_settings(text, {}, str, cores=4), load_config()

    for section in (
        "mode",
        "service",
        "policy",
        "hash",
        "pumping",
        "messages",
        "inbound",
        "events",
        "telemetry",
    ):
        assert getattr(least, section) == getattr(settings, section)
    assert DEFAULT_LIMITS == settings.effective_limits
    assert (8, 3) == (settings.routing.deadline_seconds, settings.routing.max_submissions)


@pytest.mark.parametrize("excluded", ["requires", "twilio_verify"])
def test_what_it_shows_as_comments_can_be_taken_in(written, excluded):
    """Each commented setting exists, and its example is safe; Redis has only one address.

    Two of the settings exclude each other.
    """
    text, _ = written(
        provider_url="https://sms.example/messages", archive="/a", signing_key="/a.pem"
    )
    others = rf'^(url = "redis:|# url = "rediss:|# sentinel|# master|# {excluded})'
    text = re.sub(others, r"## \1", text, flags=re.MULTILINE)
    taken = re.sub(r'^# ([a-z_A-Z]+ = |\[[a-z.]+\]$|"\+)', r"\1", text, flags=re.MULTILINE)

    whsec = f"whsec_{base64.b64encode(b'worthless secret of a hook').decode()}"
    files = {
        "/run/secrets/supabase-hook": f"v1,{whsec}",
        "/run/secrets/gateway-inbound": "worthless-inbound-token",
        "/run/secrets/risk": whsec,
    }
    settings = load_settings(taken, {}, lambda path: files.get(path, "worthless"), cores=2)

    assert [] == find_errors(settings)
    assert settings.redis.cluster
    assert settings.messages.languages
    assert "Example" == settings.build_tenants()["shop"].sender
    assert {"gateway", "twilio"} == settings.providers.keys()
    assert {"US", "GB", "+4474"} == settings.routing.routes.keys()


def test_it_has_an_archive_or_says_that_there_is_none(written):
    """R73: what is in Redis alone is lost with it, so the choice is explicit."""
    url = "https://sms.example/messages"
    with_archive, _ = written(provider_url=url, archive="/a b", signing_key='/k"')
    without, _ = written(provider_url=url)
    settings, other = (load_settings(t, {}, str, cores=2) for t in (with_archive, without))

    assert ("/a b", '/k"') == (settings.audit.archive_folder, settings.audit.signing_key)
    assert ("none", None) == (other.audit.archive, other.audit.archive_folder)
    assert [] == find_errors(settings) == find_errors(other)


def test_a_fresh_configuration_warns_of_its_one_provider_and_that_nothing_is_archived(
    written, now_ms
):
    """A warning at the first start has to be worth reading."""
    text, _ = written(provider_url="https://sms.example/messages")

    found = find_warnings(load_settings(text, {}, str, cores=2), now_ms)

    assert ["routing.providers", "audit.archive"] == [fault.setting for fault in found]


@pytest.mark.parametrize(
    "text", ["Shop", 'The "Shop"', "back\\slash", "tab\tand\nline", "$brand", "Łódź", "\u202e"]
)
def test_any_text_can_be_quoted(text):
    """A brand with a quotation mark does not end its string."""
    assert {"value": text} == tomllib.loads(f"value = {quote_toml(text)}")


def test_a_tenants_name_needs_no_quotes():
    """The template writes it as a bare key."""
    assert r"[a-z0-9][a-z0-9-]{0,31}" == TENANT_NAME_PATTERN
