"""Loading text, environment and files into one typed value."""

import pytest

from otp_service.core.argon2_profile import DEFAULT_PROFILE
from otp_service.core.keys import Key
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.policy import Policy
from otp_service.core.tenant import Scope, Tenant, hash_api_key
from otp_service.settings import SettingsError, load_settings
from otp_service.settings.service_tables import (
    EventSettings,
    HashSettings,
    MessageSettings,
    RedisSettings,
    RoutingSettings,
    ServiceSettings,
)


def test_what_is_left_out_has_a_default(load_config):
    """The smallest configuration has Redis, a caller and a provider."""
    settings = load_config()

    assert "live" == settings.mode
    assert ServiceSettings(workers=4) == settings.service
    assert RedisSettings(url="unix:///run/otp/redis.sock") == settings.redis
    assert Policy() == settings.policy
    assert HashSettings(workers=1) == settings.hash
    assert DEFAULT_PROFILE == settings.hash.profile
    assert MessageSettings() == settings.messages
    assert EventSettings() == settings.events
    assert RoutingSettings() == settings.routing
    assert ("gateway",) == settings.build_routes().default


@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 2), (3, 1), (4, 1), (8, 1)])
def test_all_processes_together_have_a_hashing_thread_for_each_core(load_config, workers, threads):
    """Of four cores here. `hash.workers` overrides it."""
    environ = {"OTP_SERVICE__WORKERS": str(workers)}

    assert threads == load_config(environ=environ).hash.workers
    environ["OTP_HASH__WORKERS"] = "7"
    assert 7 == load_config(environ=environ).hash.workers


def test_every_setting_can_be_given(load_config):
    """Each value of the file is found in the typed settings, in the core's units."""
    settings = load_config("working_everything")
    least = load_config()

    tables = ("service", "redis", "policy", "hash", "messages", "events", "telemetry", "routing")
    for section in tables:
        ours, default = getattr(settings, section), getattr(least, section)
        unchanged = {
            name for name in ours.__struct_fields__ if getattr(ours, name) == getattr(default, name)
        }
        assert unchanged <= {"sentinel", "master", "cluster"}
    assert ("second", "gateway") == settings.build_routes().default
    assert "worthless-password" == settings.redis.password.reveal()
    assert "worthless-password" == settings.providers["second"].basic.password.reveal()


def test_keys_are_the_cores_own(load_config):
    """The first key of a ring encrypts, the others only decrypt."""
    keys = load_config("working_rotation").keys

    assert "p2" == keys.pepper.current.id
    assert keys.pepper.get("p1") is not None
    assert all(len(key.secret) == 32 for key in (*keys.pepper, *keys.seal, *keys.limit))


def test_tenants_have_the_general_limits_or_their_share(load_config):
    """A share replaces the limit of that name and no other."""
    settings = load_config("working_everything")

    tenant = settings.build_tenants()["my-shop"]

    assert (
        Tenant(
            name="my-shop",
            brand="My Shop",
            sender="MyShop",
            default_locale="de",
            countries=frozenset({"DE"}),
            purposes=frozenset({"login", "payment"}),
            has_risk_check=False,
            trusts_known=True,
            limits={
                **settings.effective_limits,
                Limit.SENDS_TENANT: (Window(50, 3600),),
                Limit.SENDS_NUMBER_TENANT: (Window(3, 600), Window(5, 86400)),
                Limit.SENDS_PREFIX_TENANT: settings.limits[Limit.SENDS_PREFIX],
                Limit.SENDS_COUNTRY_TENANT: settings.limits[Limit.SENDS_COUNTRY],
            },
        )
        == tenant
    )


def test_every_limit_has_windows(load_config):
    """Those of the configuration, the policy's cooldown, and the defaults elsewhere."""
    rates = load_config("working_everything").effective_limits

    assert set(Limit) == set(rates)
    assert (Window(1, 60),) == rates[Limit.COOLDOWN]
    assert DEFAULT_LIMITS[Limit.CONSECUTIVE_FAILURES] == rates[Limit.CONSECUTIVE_FAILURES]
    assert (Window(100, 3600), Window(1000, 86400)) == rates[Limit.SENDS_COUNTRY]


def test_api_keys_are_looked_up_by_hash(load_config):
    """Whether the configuration has the hash, or a file the key."""
    first, team = load_config("working_everything").build_api_keys()

    assert ("first", "my-shop") == (first.id, first.tenant)
    assert 1_814_313_600_000 == first.expires_at
    assert hash_api_key("worthless: an API key of the tests") == first.sha256
    assert hash_api_key("worthless-api-key-worthless-api-key-worthless") == team.sha256
    assert {Scope.AUDIT, Scope.AUDIT_ALL, Scope.OPERATOR} == team.scopes
    assert team.expires_at is None


def test_messages_are_written_as_each_tenant(load_config):
    """Brand and language are the tenant's; host and app are shared by all tenants."""
    text = (
        load_config("working_everything").create_message_renderer("my-shop").render("12345678", 5)
    )

    assert "My Shop" in text
    assert text.endswith("\nFA+9qCX9VSu\n@example.com #12345678")


def test_secrets_are_starred(load_config, complete_config):
    """Neither `repr` nor `str` of the settings shows one."""
    settings = load_config("working_everything")

    shown = f"{settings!r} {settings}"

    assert "orthless" not in shown
    assert "WORTHLESS" not in shown
    assert "WORTHLESS" in complete_config()


def test_a_key_shows_its_id_only():
    """Tracebacks with colors show it too, by a method of msgspec."""
    key = Key("p1", b"a secret of thirty-two bytes.....")

    assert "Key(p1)" == repr(key)
    assert [("id", "p1")] == key.__rich_repr__()


def test_faults_never_repeat_a_secret(complete_config):
    """A key in the wrong form must not be in the log of a failed start."""
    text = complete_config().replace('secret = "', 'secret = "WORTHLESS:')

    with pytest.raises(SettingsError) as caught:
        load_settings(text, {}, str, cores=4)

    assert 6 == len(caught.value.issues)
    assert "WORTHLESS" not in str(caught.value)


def test_several_tables_tell_which_of_them_is_meant(find_config_errors):
    """The error names the second tenant, not the first one."""
    extra = (
        '[tenants.shop]\nbrand = "Shop"\n[tenants.bank]\nbrand = 7\n[tenants.post]\nname = "Post"\n'
    )

    found = [
        (fault.setting, fault.remedy.split(":")[0]) for fault in find_config_errors(extra=extra)
    ]

    assert [
        ("tenants.bank.brand", "must be text"),
        ("tenants.post.name", "is not a setting"),
    ] == found


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError()])
def test_a_secret_file_that_cannot_be_read_is_a_fault(error, complete_config):
    """The error names its setting, and no exception is raised."""

    def read_file(_: str) -> str:
        raise error

    with pytest.raises(SettingsError, match=r"redis\.password_file: cannot be read"):
        load_settings(complete_config("working_everything"), {}, read_file, cores=4)


def test_a_secret_file_that_is_not_text_is_a_fault(complete_config):
    """As is one that holds bytes of no encoding."""

    def read_file(_: str) -> str:
        return b"\xff".decode()

    with pytest.raises(SettingsError, match="it is not a file of text"):
        load_settings(complete_config("working_everything"), {}, read_file, cores=4)


@pytest.mark.parametrize(
    ("extra", "setting"),
    [
        ("[service\n", "configuration"),
        ("[polcy]\ndigits = 8\n", "polcy"),
        ("[service]\ndrain_second = 10\n", "service.drain_second"),
        ("[keys]\nlimit = [{id = 'l1'}]\n", "keys.limit[0].secret"),
        ("[keys]\npepper = []\n", "keys.seal"),
        ("[providers.a]\ntype = 'http'\n", "providers.a.url"),
        ("[providers.a]\ntype = 'pigeon'\n", "providers.a.type"),
        ("[tenants.'My Shop']\nbrand = 'Shop'\n", "tenants.My Shop"),
        (
            "[tenants.shop]\nbrand = 'Shop'\nkeys = [{expires = 2026-01-01T00:00:00}]\n",
            "tenants.shop.keys[0].expires",
        ),
        ("tenants = 3\n", "tenants"),
        ("[tenants]\nshop = 3\n", "tenants.shop"),
        ("[redis]\npassword_file = 3\n", "redis.password_file"),
        ('[redis]\npassword_file = "\\u0000"\n', "redis.password_file"),
        ("[redis]\npassword = ''\n", "redis.password"),
        ("[redis]\npassword = 'a'\npassword_file = 'b'\n", "redis.password"),
        ("[policy]\ndigits = 6.5\n", "policy.digits"),
        ("[service]\nworkers = 0\n", "service.workers"),
        ("service = 3\n", "service"),
        ("[keys]\npepper = 3\n", "keys.pepper"),
        ("[keys]\nlimit = [{id = 'l1', secret = 'five5'}]\n", "keys.limit[0].secret"),
    ],
)
def test_values_of_another_shape_are_faults(extra, setting, find_config_errors):
    """No TOML value ends in a traceback."""
    assert setting in {fault.setting for fault in find_config_errors(extra=extra)}


def test_a_table_of_secrets_takes_each_from_a_file(load_config, find_config_errors):
    """The name ends in _file there too; both at once is a fault."""
    gateway = (
        '[providers.gateway]\ntype = "http"\nurl = "https://sms.example"\n'
        'fields = {to = "{to}", text = "{text}"}\n'
    )
    from_file = 'secret_headers = {X-Key_file = "worthless_password.txt"}\n'
    both = 'secret_headers = {X-Key_file = "worthless_password.txt", X-Key = "worthless"}\n'

    provider = load_config(extra=gateway + from_file).providers["gateway"]

    assert "worthless-password" == provider.secret_headers["X-Key"].reveal()
    assert ["providers.gateway.secret_headers.X-Key"] == [
        fault.setting for fault in find_config_errors(extra=gateway + both)
    ]
