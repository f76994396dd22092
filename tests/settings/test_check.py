"""Errors of a configuration, with the setting and the remedy, and its warnings."""

import sys
from pathlib import Path

import msgspec
import pytest

from otp_service.core.ip_address import is_loopback
from otp_service.core.limits import Limit, Window
from otp_service.core.tenant import hash_api_key
from otp_service.settings import find_errors, find_tolerated_errors, find_warnings


HERE = Path(__file__).parent
WORKING = sorted(path.stem for path in HERE.glob("working_*.toml"))

LINES = (HERE / "refused.txt").read_text().splitlines()[2:]
REFUSED = [
    (*given.split("=", 1), *told.split(": ", 1))
    for given, told in (line.split("  ->  ") for line in LINES)
]

STATE = '{id = "s1", secret = "WORTHLESS-KEY-only-for-tests-state-abcdefgA"}'
FIRST = "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"
BANK = (
    f'{{brand = "Bank", countries = ["GB"], '
    f'keys = [{{id = "k", sha256 = "{FIRST}", scopes = ["challenges"]}}]}}'
)


@pytest.mark.parametrize("name", WORKING)
def test_a_working_configuration_is_accepted(name, load_config):
    """It has no error."""
    settings = load_config(name)

    assert [] == find_errors(settings)


@pytest.mark.parametrize(("variable", "text", "setting", "words"), REFUSED)
def test_what_is_unsafe_is_refused_by_setting_and_remedy(
    variable, text, setting, words, find_config_errors
):
    """The error names that setting only, and its remedy."""
    (found,) = find_config_errors(environ={variable: text})

    assert setting == found.setting
    assert words in found.remedy


def test_traces_are_refused_without_the_extra_that_makes_them(find_config_errors, monkeypatch):
    """The remedy names the extra; the test hides the exporter's packages."""
    monkeypatch.delitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto", None)

    (found,) = find_config_errors(
        environ={"OTP_TELEMETRY__TRACES": "http://127.0.0.1:4318/v1/traces"}
    )

    assert "telemetry.traces" == found.setting
    assert "otp-service[otel]" in found.remedy


def test_a_secret_is_for_one_key_and_an_api_key_for_one_tenant(find_config_errors):
    """The error names both settings."""
    variables = {"OTP_KEYS__SEAL": f"[{STATE}]", "OTP_TENANTS__BANK": BANK}

    found = find_config_errors(environ=variables)

    assert ["keys.seal", "keys.state", "tenants.shop.keys", "tenants.bank.keys"] == [
        fault.setting for fault in found
    ]


def test_all_faults_are_told_at_once(find_config_errors):
    """An operator can correct all of them at once."""
    extra = "[policy]\ndigits = 5\nlifetime = 601\n[tenants.shop]\nbrand = 'Shop'\n"

    found = {fault.setting for fault in find_config_errors(extra=extra)}

    assert {
        "policy.digits",
        "policy.lifetime",
        "tenants.shop.countries",
        "tenants.shop.keys",
    } == found


def test_a_failover_that_may_forget_is_warned_of(load_config, now_ms):
    """It is allowed, and `check` warns."""
    settings = load_config("working_cluster")

    assert [] == find_errors(settings)
    assert "redis.replicas" in {fault.setting for fault in find_warnings(settings, now_ms)}


def test_a_rotation_is_remembered(load_config, now_ms):
    """The older key is named, so that it is removed in the end."""
    found = [str(fault) for fault in find_warnings(load_config("working_rotation"), now_ms)]

    assert "keys.pepper: has two keys: remove the old one (docs/key-rotation.md)" in found


def test_the_earlier_limit_key_stays_until_nothing_is_under_it(load_config, now_ms):
    """Only Redis shows that, so the warning names the command."""
    settings = load_config("working_rotation")
    keys = msgspec.structs.replace(settings.keys, limit=settings.keys.pepper)

    found = [*map(str, find_warnings(msgspec.structs.replace(settings, keys=keys), now_ms))]

    remedy = "remove the old one when 'otp-service limit-key status' finds nothing under it"
    assert f"keys.limit: has two keys: {remedy}" in found


def test_the_test_mode_is_said_aloud(load_config, now_ms):
    """The warning keeps it from being mistaken for production."""
    found = {fault.setting for fault in find_warnings(load_config("working_test_mode"), now_ms)}

    assert "mode" in found


def test_a_chain_of_two_in_use_is_not_warned_of(load_config, now_ms):
    """A warning that is always shown is ignored."""
    found = {fault.setting for fault in find_warnings(load_config("working_everything"), now_ms)}

    found.remove("providers.gateway.previous_inbound_token")  # which it has
    assert not [setting for setting in found if setting.startswith(("routing", "providers"))]


def tenant(countries: str, *expiries: str) -> str:
    """Return a tenant with one key for each expiry."""
    keys = ", ".join(
        f'{{ id = "k{i}", sha256 = "{hash_api_key(f"random {i}").hex()}", scopes = ["challenges"], expires = {expiry} }}'
        for i, expiry in enumerate(expiries)
    )
    return f'[tenants.shop]\nbrand = "Shop"\ncountries = {countries}\nkeys = [{keys}]\n'


def test_a_tenant_that_sends_everywhere_is_warned_of(load_config, now_ms):
    """SMS pumping targets countries with expensive messages."""
    settings = load_config(extra=tenant('["*"]', "2030-01-01T00:00:00Z"))

    found = {fault.setting: fault.remedy for fault in find_warnings(settings, now_ms)}

    assert "SMS pumping" in found["tenants.shop.countries"]


def test_an_expired_key_beside_a_live_one_does_not_stop_the_service(load_config, now_ms):
    """A restart at night must not fail for an unused key."""
    dates = ("2026-11-21T00:00:00Z", "2026-12-01T00:00:00Z", "2030-01-01T00:00:00Z")
    settings = load_config(extra=tenant('["GB"]', *dates))

    found = {fault.setting: fault.remedy for fault in find_warnings(settings, now_ms)}

    assert [] == find_errors(settings)
    expired, expiring = (found[f"tenants.shop.keys.{name}"] for name in ("k0", "k1"))
    assert "has expired, at 2026-11-21 00:00:00+00:00: remove it" == expired
    assert "expires within 30 days, at 2026-12-01 00:00:00+00:00" == expiring
    assert "tenants.shop.keys.k2" not in found


def test_a_tenant_without_an_unexpired_key_is_no_error_of_the_others(load_config, now_ms):
    """R55: the service runs for other tenants; `check` refuses, and names the tenant."""
    settings = load_config(extra=tenant('["GB"]', "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"))

    assert [] == find_errors(settings)
    assert ["tenants.shop.keys"] == [i.setting for i in find_tolerated_errors(settings, now_ms)]
    assert [] == list(find_tolerated_errors(settings, now_ms - 1))


def test_a_loose_limit_is_no_obstacle_to_a_restart(load_config, now_ms):
    """The bounds are new: a service that ran with its limits before has to start."""
    settings = load_config(environ={"OTP_LIMITS__SENDS_PER_PREFIX": '["900000 in 1 h"]'})

    assert [] == find_errors(settings)
    assert ["limits.SendsPerPrefix"] == [
        issue.setting for issue in find_tolerated_errors(settings, now_ms)
    ]


SECOND_LOOKS = {
    ("OTP_SERVICE__HOST", "0.0.0.0"): ("service.host", "plain text"),  # noqa: S104  # the point
    ("OTP_SERVICE__ADMIN_HOST", "::"): ("service.admin_host", "metrics and documents need no key"),
    ("OTP_POLICY__COOLDOWN", "1"): ("policy.cooldown", "older code"),
    ("OTP_POLICY__SENDS", "10"): ("policy.sends", "billed"),
    (
        "OTP_TENANTS__SHOP__KEYS",
        f'[{{id = "k", sha256 = "{FIRST}", scopes = ["challenges", "operator"]}}]',
    ): ("tenants.shop.keys.k", "unlock every number"),
    (
        "OTP_TENANTS__SHOP__KEYS",
        f'[{{id = "k", sha256 = "{FIRST}", scopes = ["audit-all", "challenges"]}}]',
    ): ("tenants.shop.keys.k", "events of all tenants"),
    (
        "OTP_PROVIDERS",
        '{gateway = {type = "kannel", username = "u", password = "p", inbound_token = "worthless-text-1"}}',
    ): ("providers.gateway.inbound_token", "max-messages = 0"),
    (
        "OTP_PROVIDERS__GATEWAY",
        (
            '{type = "http", url = "https://sms.example/", fields = {to = "{to}", text = "{text}"},'
            ' inbound_token = "worthless-text-1", previous_inbound_token = "worthless-text-2"}'
        ),
    ): ("providers.gateway.previous_inbound_token", "remove it"),
    (
        "OTP_PROVIDERS__GATEWAY",
        (
            '{type = "http", url = "https://sms.example/", fields = {to = "{to}", text = "{text}"},'
            ' inbound_token = "worthless-text-1"}'
        ),
    ): ("providers.gateway.inbound_token", "add a table `inbound`"),
    (
        "OTP_PROVIDERS",
        (
            '{gateway = {type = "sns", region = "eu-west-1", access_key_id = "A", secret_access_key = "p",'
            ' inbound_token = "worthless-text-1"}}'
        ),
    ): ("providers.gateway.inbound_token", "SNS passes on no messages"),
    (
        "OTP_PROVIDERS",
        (
            '{gateway = {type = "sinch", service_plan_id = "p1", api_token = "p", signing_secret = "worthless",'
            ' inbound_token = "worthless-text-1"}}'
        ),
    ): ("providers.gateway.inbound_token", "needs its signature"),
    (
        "OTP_PROVIDERS",
        '{gateway = {type = "plivo", auth_id = "MA1", auth_token = "p", sender = "Example"}}',
    ): ("service.public_url", "providers.gateway signs the address"),
}


@pytest.mark.parametrize("variable", SECOND_LOOKS, ids=range(len(SECOND_LOOKS)))
def test_what_may_be_a_mistake_is_warned_of(load_config, now_ms, variable):
    """R63: it can be right, so it is allowed, and the warning has the reason."""
    setting, words = SECOND_LOOKS[variable]
    settings = load_config(environ=dict([variable]))
    found = {fault.setting: fault.remedy for fault in find_warnings(settings, now_ms)}

    assert [] == find_errors(settings)
    assert words in found[setting]
    assert setting not in {fault.setting for fault in find_warnings(load_config(), now_ms)}


def test_the_secret_of_an_address_is_that_of_one_provider(find_config_errors):
    """R63: a vendor that knows it could send messages in the name of another one."""
    kinds = {"a": 'type = "infobip", api_key = "p"', "b": 'type = "clickatell", key = "q"'}
    tokens = {
        "a": 'inbound_token = "worthless-token-of-a"',
        "b": 'inbound_token = "worthless-token-of-b", previous_inbound_token = "worthless-token-of-a"',
    }
    providers = ", ".join(f"{name} = {{{kinds[name]}, {tokens[name]}}}" for name in kinds)
    environ = {"OTP_PROVIDERS": f"{{{providers}}}", "OTP_ROUTING__PROVIDERS": '["a", "b"]'}

    found = {issue.setting: issue.remedy for issue in find_config_errors(environ=environ)}

    assert {"providers.a.inbound_token", "providers.b.previous_inbound_token"} == found.keys()
    for setting, other in (found.keys(), reversed(found.keys())):
        assert f"is the same as {other}: generate one" in found[setting]


@pytest.mark.parametrize(
    "provider",
    [
        'type = "sinch", service_plan_id = "p1", api_token = "p"',
        'type = "infobip", api_key = "p"',
        # A message with the older signature V2 counts with the token alone.
        'type = "plivo", auth_id = "MA1", auth_token = "p", sender = "Example"',
    ],
)
def test_a_token_that_proves_messages_is_not_warned_of(load_config, now_ms, provider):
    """These vendors do not sign, or not the message."""
    provider = f'{{gateway = {{{provider}, inbound_token = "worthless-text-1"}}}}'
    settings = load_config(environ={"OTP_PROVIDERS": provider})

    assert [] == find_errors(settings)
    assert not [w for w in find_warnings(settings, now_ms) if "inbound_token" in w.setting]


@pytest.mark.parametrize(
    ("provider", "public_url"),
    [
        ('type = "plivo", auth_id = "MA1", auth_token = "p"', "https://otp.example"),
        # It signs nothing that we can verify.
        ('type = "messagebird", access_key = "p"', None),
        # Its signature does not cover the address.
        (
            'type = "telnyx", api_key = "p", public_key = "cGxhaW4gdGVzdCBrZXkgb2YgMzIgYnl0ZXMgISEhISE="',
            None,
        ),
    ],
)
def test_an_address_that_no_signature_covers_may_be_unknown(
    load_config, now_ms, provider, public_url
):
    """A warning that is always shown is ignored."""
    environ = {"OTP_PROVIDERS": f'{{gateway = {{{provider}, sender = "Example"}}}}'}
    environ |= {"OTP_SERVICE__PUBLIC_URL": public_url} if public_url else {}
    settings = load_config(environ=environ)

    assert [] == find_errors(settings)
    assert "service.public_url" not in {w.setting for w in find_warnings(settings, now_ms)}


def test_one_provider_alone_is_warned_of(load_config, now_ms):
    """A chain of one provider has no fallback."""
    found = {fault.setting for fault in find_warnings(load_config(), now_ms)}

    assert {"routing.providers", "audit.archive"} == found


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - this is the point
        ("localhost.example", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_what_nobody_else_reaches(host, expected):
    """A name that only resembles a loopback address is refused."""
    assert expected is is_loopback(host)


def pseudonyms(*ids: str) -> dict[str, str]:
    """Return the variable for keys with these ids, the current one first."""
    keys = [
        f'{{id = "{id_}", secret = "WORTHLESS-KEY-only-for-tests-{i}-pseudonym-bcA"}}'
        for i, id_ in enumerate(ids)
    ]
    return {"OTP_KEYS__PSEUDONYM": f"[{', '.join(keys)}]"}


ARCHIVE = '[audit]\narchive = "/a"\nsigning_key = "/k"\nanchor = {type = "stdout"}\n'


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["2026-11-22"], ""),
        (["2026-08-25-ab12"], ""),
        (["2026-08-24-ab12"], "is older than audit.pseudonym_days"),
        (["2026-08"], "is older than audit.pseudonym_days"),
        (["2026-09"], ""),
        (["n1"], "has an id without a date"),
        (["2026-13-45"], "has an id without a date"),
        (["2026-11-01", "2026-08-01", "2026-05-01"], ""),
        (["2026-11-01", "2025-11-23", "n1"], ""),
        (["2026-11-01", "2025-11-22", "n1"], "has n1, and every event that used it is deleted"),
        (["2025-11-22", "2025-08-01"], "has 2025-08-01, and every event that used it is deleted"),
    ],
)
def test_a_pseudonym_key_that_is_to_be_rotated_or_ended_is_told(load_config, now_ms, ids, words):
    """At 2026-11-22: after 90 days in use, and 365 days after its successor was made."""
    settings = load_config(extra=ARCHIVE, environ=pseudonyms(*ids))

    assert [] == find_errors(settings)
    found = [w.remedy for w in find_warnings(settings, now_ms) if w.setting == "keys.pseudonym"]

    assert words in (found[-1] if words else "")
    assert bool(words) is bool(found)


def test_who_keeps_no_events_for_long_is_not_told_of_undated_pseudonym_keys(load_config, now_ms):
    """Redis deletes the events within days."""
    found = {fault.setting for fault in find_warnings(load_config(), now_ms)}

    assert "keys.pseudonym" not in found


def test_any_number_of_authenticator_keys_stay_without_a_warning(load_config, now_ms):
    """Callers store tokens under each of them, for years."""
    keys = [
        f'{{id = "{year}-01-01", secret = "WORTHLESS-KEY-only-for-tests-{year}-tokens-abA"}}'
        for year in (2026, 2024, 2022, 2020)
    ]
    settings = load_config(environ={"OTP_KEYS__AUTHENTICATOR": f"[{', '.join(keys)}]"})

    assert [] == find_errors(settings)
    assert 4 == len(settings.keys.authenticator.keys)
    warned = {warning.setting for warning in find_warnings(settings, now_ms)}
    assert "keys.authenticator" not in warned


def test_an_archive_without_an_anchor_is_warned_of(load_config, now_ms):
    """Without an anchor a cut-off end is not detected."""
    without = ARCHIVE.replace("anchor", "# anchor")

    assert "audit.anchor" in {w.setting for w in find_warnings(load_config(extra=without), now_ms)}
    assert "audit.anchor" not in {
        w.setting for w in find_warnings(load_config(extra=ARCHIVE), now_ms)
    }


def find_limit_warnings(load_config, **environ):
    settings = load_config(environ=environ)
    found = find_warnings(settings, now_ms=0)
    return {fault.setting: fault.remedy for fault in found if "limits." in fault.setting}


def test_limits_that_fit_together_need_no_second_look(load_config):
    """The defaults, and those of every working configuration."""
    for name in WORKING:
        found = [str(fault) for fault in find_warnings(load_config(name), 0)]
        assert not [text for text in found if "can exhaust it" in text or "share of" in text]


@pytest.mark.parametrize(
    ("limit", "windows", "outer"),
    [
        ("SENDS_PER_NUMBER_AND_TENANT", "9 in 10 min", "limits.SendsPerNumber (8 in 10 min)"),
        ("SENDS_PER_NUMBER", "61 in 10 min", "limits.SendsPerPrefix (60 in 10 min)"),
        ("SENDS_PER_PREFIX_AND_TENANT", "601 in 1 d", "limits.SendsPerPrefix (600 in 1 d)"),
        ("SENDS_PER_PREFIX", "2001 in 1 h", "limits.SendsPerCountry (2000 in 1 h)"),
        ("SENDS_PER_COUNTRY_AND_TENANT", "2001 in 1 h", "limits.SendsPerCountry (2000 in 1 h)"),
        ("SENDS_PER_COUNTRY", "10001 in 1 h", "limits.SendsOverall (10000 in 1 h)"),
        ("SENDS_PER_CLIENT_ADDRESS", "5001 in 1 h", "limits.SendsPerTenant (5000 in 1 h)"),
    ],
)
def test_a_limit_that_one_subject_can_exhaust_gets_a_warning(load_config, limit, windows, outer):
    """The limits are compared period by period, and the warning names both."""
    found = find_limit_warnings(load_config, **{f"OTP_LIMITS__{limit}": f'["{windows}"]'})

    (remedy,) = found.values()
    assert f"has {windows}, above {outer}" in remedy


def test_sends_of_a_tenant_above_its_share_get_a_warning(load_config):
    """The share applies, so the value in the configuration would mislead."""
    bank = BANK.replace('"Bank"', '"Bank", share_percent = 20')

    found = find_limit_warnings(load_config, OTP_TENANTS__BANK=bank)

    assert {"tenants.bank.limits.SendsPerTenant"} == found.keys()
    assert "(20 %: 2000 in 1 h)" in found["tenants.bank.limits.SendsPerTenant"]


def test_two_tenants_have_half_of_a_country_each(load_config):
    """A tenant whose keys cannot send takes no share from the others."""
    limit = Limit.SENDS_COUNTRY_TENANT
    auditor = BANK.replace('"challenges"', '"audit-all"')

    alone = load_config(environ={"OTP_TENANTS__BANK": auditor}).build_tenants()["shop"]
    both = load_config(environ={"OTP_TENANTS__BANK": BANK}).build_tenants()
    third = BANK.replace('"Bank"', '"Bank", share_percent = 75')
    larger = load_config(environ={"OTP_TENANTS__BANK": third}).build_tenants()["bank"]

    assert (Window(2_000, 3600),) == alone.limits[limit]
    assert [(Window(1_000, 3600),)] * 2 == [tenant.limits[limit] for tenant in both.values()]
    assert (Window(1_500, 3600),) == larger.limits[limit]


def test_a_tenant_may_tighten_its_share_and_not_loosen_it(find_config_errors):
    """With two tenants, more than half of a country is loose."""
    variable = "OTP_TENANTS__SHOP__LIMITS__SENDS_PER_COUNTRY_AND_TENANT"
    environ = {"OTP_TENANTS__BANK": BANK}

    def find_limit_errors(windows: str) -> list[str]:
        found = find_config_errors(environ=environ | {variable: f'["{windows}"]'})
        return [fault.remedy for fault in found if "limits." in fault.setting]

    (remedy,) = find_limit_errors("1001 in 1 h")
    assert "is looser than limits.SendsPerCountryAndTenant (1000 in 1 h)" in remedy
    assert [] == find_limit_errors("999 in 1 h")


def test_a_seal_key_is_rotated_before_its_nonces_may_repeat(load_config, now_ms):
    """NIST SP 800-38D §8.3: 2^32 random nonces at most, which 50 logins a second use in 142 days."""

    def find_settings(key_id: str) -> set[str]:
        ring = "OTP_KEYS__SEAL"
        value = f'[{{ id = "{key_id}", secret = "WORTHLESS-KEY-only-for-tests-seal-abcdefghA" }}]'
        settings = load_config(environ={ring: value})
        return {issue.setting for issue in find_warnings(settings, now_ms)}

    assert "keys.seal" in find_settings("2026-08-01-ab12")
    assert "keys.seal" not in find_settings("2026-10-01-ab12")
    assert "keys.seal" not in find_settings("s1")
