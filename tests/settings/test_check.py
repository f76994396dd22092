"""What is refused, with the setting and the remedy; and what is only warned of."""

from pathlib import Path

import pytest

from otp_service.core.limits import CAPS
from otp_service.settings import faults, warnings
from otp_service.settings.check import is_loopback


HERE = Path(__file__).parent
WORKING = sorted(path.stem for path in HERE.glob("working_*.toml"))

PEPPER = '{id = "p1", secret = "WORTHLESS-KEY-only-for-tests-pepper-abcdefA"}'
OTHER = '{id = "p2", secret = "WORTHLESS-KEY-only-for-tests-other-abcdefgA"}'
THIRD = '{id = "p3", secret = "WORTHLESS-KEY-only-for-tests-pepper0-abcdeA"}'
STATE = '{id = "s1", secret = "WORTHLESS-KEY-only-for-tests-state-abcdefgA"}'
API_KEY = f'id = "k", sha256 = "{7:064x}"'
GATEWAY = '{type = "http", url = "https://a.example", fields = {to = "{to}", text = "{text}"}}'
HOUR = '["1 in 1 h"]'
LOST_LIMIT = "{" + ", ".join(f"{name} = {HOUR}" for name in (*CAPS, "SendPerNumber")) + "}"
FIRST = "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"
BANK = (
    f'{{brand = "Bank", countries = ["GB"], '
    f'keys = [{{id = "k", sha256 = "{FIRST}", scopes = ["challenges"]}}]}}'
)


def api_key(*fields: str, scope: str = "challenges") -> dict[str, str]:
    """Return the one key of the tenant."""
    return {"TENANTS__SHOP__KEYS": f'[{{{", ".join(fields)}, scopes = ["{scope}"]}}]'}


@pytest.mark.parametrize("name", WORKING)
def test_a_working_configuration_is_accepted(name, settings_of, now):
    """Nothing in it is refused."""
    settings = settings_of(name)

    assert [] == faults(settings, now)


@pytest.mark.parametrize(
    ("setting", "words", "variables"),
    [
        ("mode", "must be one of live, test", {"MODE": "dry"}),
        ("mode", "cannot be 'test' beside providers.gateway", {"MODE": "test"}),
        ("policy", "must be a table of settings", {"POLICY": "6"}),
        ("policy.digits", ": shorter codes are guessed", {"POLICY__DIGITS": "5"}),
        ("policy.digits", "from 6 to 10", {"POLICY__DIGITS": "1000000000"}),
        ("policy.lifetime", "to 600 seconds", {"POLICY__LIFETIME": "601"}),
        ("policy.attempts", "from 1 to 5", {"POLICY__ATTEMPTS": "6"}),
        ("hash.memory_kib", "hash.accept_below_owasp = true", {"HASH__MEMORY_KIB": "4096"}),
        ("service.port", "<= 65535", {"SERVICE__PORT": "65536"}),
        # Redis
        ("redis.url", "say where Redis is", {"REDIS": "{}"}),
        ("redis.url", "or cluster", {"REDIS__CLUSTER": '["127.0.0.1:6379"]'}),
        ("redis.cluster[0]", "host and port", {"REDIS": '{cluster = ["10.0.0.1"]}'}),
        ("redis.master", "with sentinel", {"REDIS": '{sentinel = ["127.0.0.1:26379"]}'}),
        ("redis.tls", "off loopback", {"REDIS__URL": "redis://otp.internal:6379/0"}),
        ("redis.url", "redis.password", {"REDIS__URL": "rediss://otp:worthless@otp.internal"}),
        (
            "redis.wait_milliseconds",
            "less than redis.timeout_milliseconds",
            {"REDIS__REPLICAS": "1", "REDIS__WAIT_MILLISECONDS": "500"},
        ),
        # keys
        ("keys.pepper", "needs a key", {"KEYS__PEPPER": "[]"}),
        ("keys.pepper", "may have two keys", {"KEYS__PEPPER": f"[{PEPPER}, {OTHER}, {THIRD}]"}),
        (
            "keys.pepper",
            "a different id for each key",
            {"KEYS__PEPPER": f"[{PEPPER}, {OTHER.replace('p2', 'p1')}]"},
        ),
        (
            "keys.pepper",
            "ids of 1 to 32 letters",
            {"KEYS__PEPPER": f"[{PEPPER.replace('p1', 'p:1')}]"},
        ),
        (
            "keys.pepper",
            "32 random bytes",
            {"KEYS__PEPPER": '[{id = "p1", secret = "WORTHLESS-and-short"}]'},
        ),
        (
            "keys.pepper[0].secret",
            "must be base64url of at least 32 random bytes",
            {"KEYS__PEPPER": '[{id = "p1", secret = "WORTHLESS:00:11:22"}]'},
        ),
        (
            "keys.pepper",
            "was not made at random",
            {"KEYS__PEPPER": f'[{{id = "p1", secret = "{"WORT" * 11}"}}]'},
        ),
        # limits
        (
            "limits.SendsPerCountry",
            "caps what you pay",
            {"LIMITS": f"{{SendsPerTenant = {HOUR}, SendsOverall = {HOUR}}}"},
        ),
        ("limits.CooldownPerNumber", "policy.cooldown", {"LIMITS__COOLDOWN_PER_NUMBER": HOUR}),
        ("limits.FailuresInARowPerNumber", "NIST", {"LIMITS__FAILURES_IN_AROW_PER_NUMBER": HOUR}),
        ("limits.GiveBacksPerNumber", "3 in 10 min", {"LIMITS__GIVE_BACKS_PER_NUMBER": HOUR}),
        ("limits.SendsPerNumber", "would be no limit", {"LIMITS__SENDS_PER_NUMBER": "[]"}),
        (
            "limits.SendsPerNumber[0]",
            "write a limit like '5 in 10 min'",
            {"LIMITS__SENDS_PER_NUMBER": '["five in ten minutes"]'},
        ),
        (
            "limits.SendsPerNumber[0]",
            "write a limit like '5 in 10 min'",
            {"LIMITS__SENDS_PER_NUMBER": "[5]"},
        ),
        ("limits.SendPerNumber", "must be one of CooldownPerNumber, ", {"LIMITS": LOST_LIMIT}),
        (
            "tenants.shop.limits.SendsPerTenant",
            "is looser than limits.SendsPerTenant (5000 in 1 h)",
            {"TENANTS__SHOP__LIMITS__SENDS_PER_TENANT": '["5001 in 1 h"]'},
        ),
        (
            "tenants.shop.limits.SendsPerTenant",
            "is looser",
            {"TENANTS__SHOP__LIMITS__SENDS_PER_TENANT": '["5000 in 59 min"]'},
        ),
        (
            "tenants.shop.limits.SendsPerCountry",
            "one bucket over all tenants",
            {"TENANTS__SHOP__LIMITS__SENDS_PER_COUNTRY": HOUR},
        ),
        (
            "tenants.shop.limits.CooldownPerNumber",
            "policy.cooldown",
            {"TENANTS__SHOP__LIMITS__COOLDOWN_PER_NUMBER": HOUR},
        ),
        # tenants
        ("tenants", "at least one", {"TENANTS": "{}"}),
        ("tenants.shop.countries", "the countries to send to", {"TENANTS__SHOP__COUNTRIES": "[]"}),
        (
            "tenants.shop.countries",
            "has UK: write ISO 3166",
            {"TENANTS__SHOP__COUNTRIES": '["UK"]'},
        ),
        ("tenants.shop.countries", "in square brackets", {"TENANTS__SHOP__COUNTRIES": "GB"}),
        (
            "tenants.shop.purposes[0]",
            "a word like 'login'",
            {"TENANTS__SHOP__PURPOSES": '["LOGIN"]'},
        ),
        ("tenants.shop.sender", "1 to 11 letters", {"TENANTS__SHOP__SENDER": "TwelveLetter"}),
        ("tenants.shop.sender", "1 to 11 letters", {"TENANTS__SHOP__SENDER": "12345"}),
        ("tenants.shop.brand", "line breaks", {"TENANTS__SHOP__BRAND": "Shop\n@evil #1"}),
        ("tenants.shop.brand", "too long", {"TENANTS__SHOP__BRAND": "Ш" * 20}),
        (
            "tenants.shop.default_locale",
            "one of the languages",
            {"TENANTS__SHOP__DEFAULT_LOCALE": "tlh"},
        ),
        ("messages.languages", "take out tlh", {"MESSAGES__LANGUAGES": '["en", "tlh"]'}),
        ("messages.host", "bare domain", {"MESSAGES__HOST": "https://example.com"}),
        ("messages.android_hash", "11 characters", {"MESSAGES__ANDROID_HASH": "short"}),
        ("tenants.shop.keys", "a key that has not expired", {"TENANTS__SHOP__KEYS": "[]"}),
        (
            "tenants.shop.keys",
            "a key that has not expired",
            api_key(API_KEY, "expires = 2026-01-01T00:00:00Z"),
        ),
        (
            "tenants.shop.keys[0].sha256",
            "'otp-service key new' prints",
            api_key('id = "k", sha256 = "x"'),
        ),
        ("tenants.shop.keys[0].sha256", "is missing", api_key('id = "k"')),
        (
            "tenants.shop.keys[0].scopes[0]",
            "must be one of challenges, audit, audit-all, operator",
            api_key(API_KEY, scope="admin"),
        ),
        # providers
        ("providers", "at least one", {"PROVIDERS": "{}"}),
        ("providers.gateway.url", "use https", {"PROVIDERS__GATEWAY__URL": "http://sms.example/"}),
        ("providers.gateway.type", "only for tests", {"PROVIDERS__GATEWAY": '{type = "inbox"}'}),
        ("routing.providers", "in which order", {"PROVIDERS__SECOND": GATEWAY}),
        (
            "routing.providers",
            "there is no providers.third",
            {"ROUTING__PROVIDERS": '["gateway", "third"]'},
        ),
    ],
)
def test_what_is_unsafe_is_refused_by_setting_and_remedy(setting, words, variables, refused):
    """That setting and no other, in the words that help."""
    (found,) = refused(environ={f"OTP_{name}": text for name, text in variables.items()})

    assert setting == found.setting
    assert words in found.remedy


def test_a_secret_is_for_one_key_and_an_api_key_for_one_tenant(refused):
    """Both places are named."""
    variables = {"OTP_KEYS__SEAL": f"[{STATE}]", "OTP_TENANTS__BANK": BANK}

    found = refused(environ=variables)

    assert ["keys.seal", "keys.state", "tenants.shop.keys", "tenants.bank.keys"] == [
        fault.setting for fault in found
    ]


def test_all_faults_are_told_at_once(refused):
    """Whoever corrects a configuration is not sent back for each line."""
    extra = "[policy]\ndigits = 5\nlifetime = 601\n[tenants.shop]\nbrand = 'Shop'\n"

    found = {fault.setting for fault in refused(extra=extra)}

    assert {
        "policy.digits",
        "policy.lifetime",
        "tenants.shop.countries",
        "tenants.shop.keys",
    } == found


def test_a_failover_that_may_forget_is_warned_of(settings_of, now):
    """It is allowed, and `check` says it."""
    settings = settings_of("working_cluster")

    assert [] == faults(settings, now)
    assert "redis.replicas" in {fault.setting for fault in warnings(settings, now)}


def test_a_rotation_is_remembered(settings_of, now):
    """The older key is named, so that it is taken out in the end."""
    found = [str(fault) for fault in warnings(settings_of("working_rotation"), now)]

    assert "keys.pepper: has two keys: ROTATION.md says when the old one may go" in found


def test_the_test_mode_is_said_aloud(settings_of, now):
    """Nobody takes it for the real thing."""
    found = {fault.setting for fault in warnings(settings_of("working_test_mode"), now)}

    assert "mode" in found


def test_a_chain_of_two_in_use_is_not_warned_of(settings_of, now):
    """A warning that is always there is not read."""
    found = {fault.setting for fault in warnings(settings_of("working_everything"), now)}

    assert not [setting for setting in found if setting.startswith(("routing", "providers"))]


def tenant(countries: str, *expiries: str) -> str:
    """Return a tenant with one key for each expiry."""
    keys = ", ".join(
        f'{{ id = "k{i}", sha256 = "{i:064x}", scopes = ["challenges"], expires = {expiry} }}'
        for i, expiry in enumerate(expiries)
    )
    return f'[tenants.shop]\nbrand = "Shop"\ncountries = {countries}\nkeys = [{keys}]\n'


def test_a_tenant_that_sends_everywhere_is_warned_of(settings_of, now):
    """Pumping goes where messages are dear."""
    settings = settings_of(extra=tenant('["*"]', "2030-01-01T00:00:00Z"))

    found = {fault.setting: fault.remedy for fault in warnings(settings, now)}

    assert "SMS pumping" in found["tenants.shop.countries"]


def test_an_expired_key_beside_a_live_one_does_not_stop_the_service(settings_of, now):
    """A restart in the night must not fail for a key that nobody uses any more."""
    dates = ("2026-11-21T00:00:00Z", "2026-12-01T00:00:00Z", "2030-01-01T00:00:00Z")
    settings = settings_of(extra=tenant('["GB"]', *dates))

    found = {fault.setting: fault.remedy for fault in warnings(settings, now)}

    assert [] == faults(settings, now)
    assert "has expired" in found["tenants.shop.keys.k0"]
    assert "in 30 days" in found["tenants.shop.keys.k1"]
    assert "tenants.shop.keys.k2" not in found


def test_one_provider_alone_is_warned_of(settings_of, now):
    """A chain of one is none."""
    found = {fault.setting for fault in warnings(settings_of(), now)}

    assert {"routing.providers"} == found


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
    """A name that only looks like it is none."""
    assert expected is is_loopback(host)
