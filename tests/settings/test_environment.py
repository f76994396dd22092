"""Environment variables override the file, and an unknown one of ours is an error."""

import pytest

from otp_service.core.limits import Limit, Window
from otp_service.settings.variables import find_foreign_variables


@pytest.mark.parametrize(
    ("variable", "text", "read", "expected"),
    [
        ("OTP_SERVICE__PORT", "9000", lambda s: s.service.port, 9000),
        ("OTP_SERVICE__HOST", "::1", lambda s: s.service.host, "::1"),
        ("OTP_REDIS__TLS", "true", lambda s: s.redis.tls, True),
        ("OTP_REDIS__USERNAME", "true", lambda s: s.redis.username, "true"),
        ("OTP_REDIS__PASSWORD", '"#1"', lambda s: s.redis.password.reveal(), '"#1"'),
        ("OTP_REDIS__PASSWORD", "1234", lambda s: s.redis.password.reveal(), "1234"),
        ("OTP_TENANTS__SHOP__BRAND", "42", lambda s: s.build_tenants()["shop"].brand, "42"),
        (
            "OTP_TENANTS__SHOP__COUNTRIES",
            '["DE"]',
            lambda s: s.build_tenants()["shop"].countries,
            {"DE"},
        ),
        (
            "OTP_LIMITS__SENDS_PER_COUNTRY",
            '["9 in 1 h"]',
            lambda s: s.effective_limits[Limit.SENDS_COUNTRY],
            (Window(9, 3600),),
        ),
        (
            "OTP_LIMITS__SENDS_PER_NUMBER_AND_TENANT",
            '["3 in 10 min"]',
            lambda s: s.effective_limits[Limit.SENDS_NUMBER_TENANT],
            (Window(3, 600),),
        ),
        (
            "OTP_PROVIDERS__GATEWAY__URL",
            "https://b.example",
            lambda s: s.providers["gateway"].url,
            "https://b.example",
        ),
        (
            "OTP_PROVIDERS__GATEWAY__SECRET_HEADERS__X_KEY",
            "worthless",
            lambda s: s.providers["gateway"].secret_headers["x-key"].reveal(),
            "worthless",
        ),
        (
            "OTP_PROVIDERS__GATEWAY__SECRET_HEADERS__X_KEY_FILE",
            "worthless_password.txt",
            lambda s: s.providers["gateway"].secret_headers["x-key"].reveal(),
            "worthless-password",
        ),
        (
            "OTP_ROUTING",
            "{max_submissions = 1, deadline_seconds = 3}",
            lambda s: (s.routing.max_submissions, s.routing.deadline_seconds),
            (1, 3),
        ),
    ],
)
def test_every_setting_can_be_overridden(variable, text, read, expected, load_config):
    """The value is TOML where the setting accepts that, else plain text."""
    settings = load_config(environ={variable: text})

    assert expected == read(settings)


def test_a_tenant_can_come_from_the_environment_alone(load_config):
    """A hyphen of its name is written as one underscore."""
    environ = {
        "OTP_TENANTS__MY_SHOP__BRAND": "My Shop",
        "OTP_TENANTS__MY_SHOP__COUNTRIES": '["FR"]',
        "OTP_TENANTS__MY_SHOP__KEYS": (
            f'[{{id = "k1", sha256 = "{1:064x}", scopes = ["challenges"]}}]'
        ),
    }

    settings = load_config(environ=environ)

    assert {"shop", "my-shop"} == set(settings.build_tenants())
    assert ["first", "k1"] == [key.id for key in settings.build_api_keys()]


def test_a_name_with_a_hyphen_in_the_file_is_found(load_config):
    """The variable changes the tenant of the file, and adds no second one."""
    settings = load_config("working_everything", environ={"OTP_TENANTS__MY_SHOP__BRAND": "Other"})

    assert {"my-shop": "Other"} == {name: t.brand for name, t in settings.build_tenants().items()}


def test_keys_can_be_rotated_from_the_environment(load_config, complete_config):
    """A whole ring as TOML, secret files in it too."""
    first = complete_config().split('"p1", secret = "')[1].split('"')[0]
    new = '{id = "p2", secret_file = "worthless_pepper.txt"}'
    environ = {"OTP_KEYS__PEPPER": f'[{new}, {{id = "p1", secret = "{first}"}}]'}

    pepper = load_config(environ=environ).keys.pepper

    assert ["p2", "p1"] == [key.id for key in pepper]
    assert load_config().keys.pepper.current == pepper.get("p1")
    assert b"" != pepper.current.secret != pepper.get("p1").secret


def test_a_secret_from_the_environment_replaces_the_file_of_the_configuration(load_config):
    """The variable's value is used, and the file is not."""
    settings = load_config("working_everything", environ={"OTP_REDIS__PASSWORD": "worthless"})

    assert "worthless" == settings.redis.password.reveal()


@pytest.mark.parametrize(
    ("variable", "setting", "words"),
    [
        ("OTP_SERVICE__PROT", "service.prot", "valid names are host, port"),
        ("OTP_LIMITS__SENDS_PER_CONTRY", "limits.SENDS_PER_CONTRY", "SendsPerCountry"),
        ("OTP_MODES", "OTP_MODES", "matches no setting"),
        ("OTP_MOD", "OTP_MOD", "Write OTP_MODE"),
        ("OTP_SERVICE_PORT", "OTP_SERVICE_PORT", "two underscores"),
        ("OTP_SERVICE_PORT", "OTP_SERVICE_PORT", "Write OTP_SERVICE__PORT"),
        ("OTP_SERVICE_HOST", "OTP_SERVICE_HOST", "Write OTP_SERVICE__HOST"),
        ("OTP_PORT", "OTP_PORT", "Write OTP_SERVICE__PORT"),
        ("OTP_REDIS_URL", "OTP_REDIS_URL", "Write OTP_REDIS__URL"),
        ("OTP_SENDS_OVERALL", "OTP_SENDS_OVERALL", "Write OTP_LIMITS__SENDS_OVERALL"),
        ("OTP_LIMITS_SENDSOVERALL", "OTP_LIMITS_SENDSOVERALL", "Write OTP_LIMITS__SENDS_OVERALL"),
        ("OTP_LIMIT__SENDS_OVERALL", "OTP_LIMIT__SENDS_OVERALL", "Write OTP_LIMITS__SENDS_OVERALL"),
        ("OTP_TENANTS_SHOP_BRAND", "OTP_TENANTS_SHOP_BRAND", "matches no setting"),
        ("OTP_POLCY__DIGITS", "OTP_POLCY__DIGITS", "Write OTP_POLICY__DIGITS"),
        ("OTP_REDIS__PASSWORD__DEEPER", "OTP_REDIS__PASSWORD__DEEPER", "matches no setting"),
        ("OTP_KEYS__PEPPER__0__SECRET", "OTP_KEYS__PEPPER__0__SECRET", "matches no setting"),
        ("OTP_TENANTS____BRAND", "OTP_TENANTS____BRAND", "matches no setting"),
        ("OTP_", "OTP_", "matches no setting"),
    ],
)
def test_a_variable_that_names_no_setting_is_refused(variable, setting, words, find_config_errors):
    """A misspelled limit must not appear to be in force."""
    (found,) = find_config_errors(
        "working_cluster", environ={"OTP_REDIS__PASSWORD": "x", variable: '["1 in 1 h"]'}
    )

    assert setting == found.setting
    assert words in found.remedy


def test_variables_of_others_are_left_alone(load_config):
    """Those are variables of `dev` and of the tests, and all with another prefix."""
    others = {"OTP_DEV_API_KEY": "x", "OTP_TESTS_STRICT": "1", "PATH": "/bin", "OTPS": "1"}

    assert load_config() == load_config(environ=others)


def build_service_links(name: str, host: str = "10.96.0.11", port: str = "8000") -> dict[str, str]:
    """Return what the kubelet sets for a Service of the namespace, in each of its pods."""
    prefix = name.upper().replace("-", "_")
    literal = f"[{host}]" if ":" in host else host
    url = f"tcp://{literal}:{port}"
    return {
        f"{prefix}_SERVICE_HOST": host,
        f"{prefix}_SERVICE_PORT": port,
        f"{prefix}_SERVICE_PORT_HTTP": port,
        f"{prefix}_PORT": url,
        f"{prefix}_PORT_{port}_TCP": url,
        f"{prefix}_PORT_{port}_TCP_PROTO": "tcp",
        f"{prefix}_PORT_{port}_TCP_PORT": port,
        f"{prefix}_PORT_{port}_TCP_ADDR": host,
    }


@pytest.mark.parametrize(
    "name",
    ["otp", "otp-service", "otp-redis", "otp-keys", "otp-service-admin", "otp-mode", "otp-7"],
)
@pytest.mark.parametrize("host", ["10.96.0.11", "fd00::11"])
def test_a_kubernetes_service_whose_name_begins_with_otp_stops_no_start(load_config, name, host):
    """The variables of a Service that is added today would stop the next restart of each pod."""
    links = build_service_links(name, host)

    assert load_config() == load_config(environ=links)
    assert {*links} <= find_foreign_variables(links)


@pytest.mark.parametrize(
    "change",
    [
        {"OTP_SERVICE_PORT": "9000"},
        {"OTP_SERVICE_HOST": "otp.internal"},
        {"OTP_PORT": "9000"},
        {"OTP_SERVICE_PROT": "9000"},
        {"OTP_SERVICE_DRAIN_SECONDS": "9"},
    ],
)
def test_a_misspelled_setting_is_refused_next_to_a_service_called_otp(find_config_errors, change):
    """Only variables that agree about one address are of a Service: the kubelet makes all of them."""
    variables = build_service_links("otp") | change

    assert {*change} <= {fault.setting for fault in find_config_errors(environ=variables)}


@pytest.mark.parametrize(
    "name", ["OTP_VERSION", "OTP_HOME", "OTP_ISSUER", "OTP_API_BASE", "OTP_AGENT"]
)
def test_a_variable_that_resembles_no_setting_is_of_another_program(load_config, name):
    """The image of Erlang sets OTP_VERSION, for example."""
    assert load_config() == load_config(environ={name: "27.1"})
    assert {name} == find_foreign_variables({name: "27.1", "PATH": "/bin"})


@pytest.mark.parametrize(
    ("variable", "text", "setting", "words"),
    [
        (
            "OTP_SERVICE__PORT",
            "many",
            "service.port",
            "must be a whole number from 1 to 65535 (in OTP_SERVICE__PORT)",
        ),
        ("OTP_POLICY__DIGITS", "6.5", "policy.digits", "must be a whole number"),
        ("OTP_ROUTING", "{most = 1}", "routing.most", "is not a setting"),
        ("OTP_TENANTS__SHOP__COUNTRIES", "GB,IE", "tenants.shop.countries", "square brackets"),
        ("OTP_REDIS__PASSWORD", "", "redis.password", "nonempty"),
        ("OTP_REDIS__PASSWORD_FILE", "none.txt", "redis.password_file", "No such file"),
        ("OTP_MODE", "dry", "mode", "must be one of live, test"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_variable(
    variable, text, setting, words, find_config_errors
):
    """The error names the variable, because the file is correct."""
    found = find_config_errors(environ={variable: text})

    assert [setting] == [fault.setting for fault in found]
    assert words in found[0].remedy


def test_a_provider_can_be_described_by_variables(load_config):
    """This includes its type."""
    environ = {
        "OTP_MODE": "test",
        "OTP_PROVIDERS": "{}",
        "OTP_PROVIDERS__BOX__TYPE": "inbox",
        "OTP_PROVIDERS__BOX__KEEP": "5",
    }

    settings = load_config(environ=environ)

    assert ("box",) == settings.build_routes().default
    assert 5 == settings.providers["box"].keep
