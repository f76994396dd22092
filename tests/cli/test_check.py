"""`check`, `calibrate` and `openapi`."""

import os
import re
from pathlib import Path

import pytest

from otp_service.cli.command import CommandError
from otp_service.cli.common import read_settings
from otp_service.cli.serve import _require_safe_redis
from otp_service.core.argon2_profile import OWASP_PROFILES
from otp_service.hashing import ARGON2_CFFI, Argon2Error
from tests.store import redis_servers


ROOT = Path(__file__).parents[2]


def test_check_shows_what_is_in_force_and_that_it_is_safe(run_otp, config):
    """It prints settings, the time of an offline attack and the state of the live Redis, without secrets."""
    ended = run_otp("check", "--config", config)

    assert (0, "") == (ended.exit_code, ended.err)
    assert re.search(r"^policy\.lifetime +300$", ended.out, re.MULTILINE)
    assert re.search(
        r"^offline attack +[\d.]+ min for all 10\^6 codes.*\(\d+ hashes a second on a core"
        r" by (argon2-cffi|libsodium)\)$",
        ended.out,
        re.MULTILINE,
    )
    assert "routing.providers: has one provider" in ended.out
    assert ended.out.endswith("Safe to run: Redis answers and its settings are safe.\n")
    for secret in re.findall(r'(?:secret|sha256) = "(\S+)"', config.read_text()):
        assert secret not in ended.out


def test_check_refuses_what_is_unsafe_and_names_setting_and_remedy(run_otp, config, monkeypatch):
    """It lists every error, after the settings."""
    monkeypatch.setenv("OTP_POLICY__LIFETIME", "900")
    monkeypatch.setenv("OTP_POLICY__DIGITS", "4")

    ended = run_otp("check", "--config", config)

    assert 1 == ended.exit_code
    assert re.search(
        r"^policy\.lifetime +900  \(from OTP_POLICY__LIFETIME\)$", ended.out, re.MULTILINE
    )
    assert "policy.lifetime: must be from 60 to 600 seconds" in ended.err
    assert "policy.digits: must be from 6" in ended.err


@pytest.mark.parametrize(("mode", "is_exposed"), [(0o600, False), (0o640, True), (0o644, True)])
def test_check_refuses_a_configuration_that_others_can_read(run_otp, config, mode, is_exposed):
    """It holds every key; root's file may be readable by root's group."""
    os.chown(config, 4242, -1)
    config.chmod(mode)

    ended = run_otp("check", "--config", config)

    assert is_exposed == (f"{config}: can be read by others, and holds secrets" in ended.err)
    assert is_exposed == bool(ended.exit_code)


def test_a_configuration_without_secrets_may_be_read_by_others(
    run_otp, config, monkeypatch, tmp_path
):
    """The files that it names, or that the environment names, must be private instead."""
    text = config.read_text()
    for i, secret in enumerate(re.findall(r'secret = "(\S+)"', text)):
        (tmp_path / f"key-{i}").touch(0o600)
        (tmp_path / f"key-{i}").write_text(f"{secret}\n")
        text = text.replace(f'secret = "{secret}"', f'secret_file = "{tmp_path}/key-{i}"')
    config.write_text(text)
    config.chmod(0o644)
    accepted = run_otp("check", "--config", config)
    (tmp_path / "key-1").chmod(0o604)
    (tmp_path / "redis").write_text("worthless")
    monkeypatch.setenv("OTP_TELEMETRY__SECRET_HEADERS__X_FILE", f"{tmp_path}/redis")

    refused = run_otp("check", "--config", config)

    assert (0, "") == (accepted.exit_code, accepted.err)
    assert f"{tmp_path}/key-1: can be read by others" in refused.err
    assert f"{tmp_path}/redis: can be read by others" in refused.err
    assert f"{config}:" not in refused.err


def test_check_refuses_an_anchor_inside_the_archive(run_otp, config, monkeypatch, tmp_path):
    """A link does not hide it: the anchor would be lost together with the end of the archive."""
    (tmp_path / "elsewhere").symlink_to(tmp_path / "archive")
    anchor = f'{{ type = "file", path = "{tmp_path}/elsewhere/anchors" }}'
    monkeypatch.setenv("OTP_AUDIT__ARCHIVE", f"{tmp_path}/archive")
    monkeypatch.setenv("OTP_AUDIT__SEAL", "alone")
    monkeypatch.setenv("OTP_AUDIT__ANCHOR", anchor)

    refused = run_otp("check", "--config", config)
    monkeypatch.setenv("OTP_AUDIT__ANCHOR", anchor.replace("elsewhere", "archive-anchors"))
    accepted = run_otp("check", "--config", config)

    assert (1, 0) == (refused.exit_code, accepted.exit_code)
    assert "audit.anchor.path: is inside audit.archive" in refused.err


def test_check_refuses_a_tenant_whose_keys_have_expired(run_otp, config):
    """R55: the service would run, and answer every call of the tenant 401."""
    expired = 'scopes = ["challenges"], expires = 2026-01-01T00:00:00Z'
    config.write_text(config.read_text().replace('scopes = ["challenges"]', expired))

    ended = run_otp("check", "--config", config)

    assert 1 == ended.exit_code
    assert "tenants.shop.keys: needs an unexpired key" in ended.err


def test_check_reports_that_redis_cannot_be_reached(run_otp, config, monkeypatch):
    """It shows the settings anyway."""
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}")

    ended = run_otp("check", "--config", config)

    assert 1 == ended.exit_code
    assert re.search(r"^  redis: cannot be reached: .*127\.0\.0\.1", ended.err, re.MULTILINE)
    assert "policy.lifetime" in ended.out


def test_check_refuses_a_redis_that_evicts(run_otp, config, server):
    """Eviction would lose counted attempts."""
    with redis_servers.open_client(server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        ended = run_otp("check", "--config", config)
        client.config_set("maxmemory-policy", "noeviction")

    assert 1 == ended.exit_code
    assert "maxmemory-policy: of Redis is allkeys-lru: set it to noeviction" in ended.err


@pytest.mark.slow
def test_fewer_replicas_than_sentinel_may_promote_are_refused(run_otp, config, tmp_path):
    """K1: after a failover to a replica without the last write, a code would be accepted twice."""
    told = "redis.replicas: is 1, and 2 replicas may be promoted: set redis.replicas = 2"
    with redis_servers.start_sentinel_of(tmp_path / "redis", [100, 100]) as (*_, sentinel):
        where = f'sentinel = ["127.0.0.1:{sentinel.port}"]\nmaster = "otp"'
        text = re.sub('^url = "(redis|unix):.*$', where, config.read_text(), flags=re.MULTILINE)
        config.write_text(text.replace("replicas = 0", "replicas = 1"))

        ended = run_otp("check", "--config", config)
        with pytest.raises(CommandError) as refused:
            _require_safe_redis(read_settings(config))  # what `serve` does first

    assert 1 == ended.exit_code
    assert told in ended.err
    assert told in str(refused.value)


def test_check_does_not_ask_a_redis_whose_settings_are_refused(run_otp, config, monkeypatch):
    """It would have no address, or connect without TLS."""
    monkeypatch.setenv("OTP_REDIS__URL", "redis://redis.example")

    ended = run_otp("check", "--config", config)

    assert 1 == ended.exit_code
    assert "redis.tls: must be true" in ended.err
    assert "cannot be reached" not in ended.err


def test_check_shows_the_attacker_hours_of_a_hash_below_owasps_table(run_otp, config, monkeypatch):
    """A weaker profile needs accept_below_owasp, and its hours are printed."""
    monkeypatch.setenv("OTP_HASH__MEMORY_KIB", "1024")

    refused = run_otp("check", "--config", config)
    monkeypatch.setenv("OTP_HASH__ACCEPT_BELOW_OWASP", "true")
    accepted = run_otp("check", "--config", config)

    assert (1, 0) == (refused.exit_code, accepted.exit_code)
    assert "hash.accept_below_owasp = true" in refused.err
    assert re.search(r"offline attack +[\d.]+ s for all", accepted.out)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read .*: No such file or directory. Write one with 'otp-service init'."),
        (b"\xff\xfe\x00", "cannot read .*: it is not text in UTF-8"),
        (b"mode = [", "is not TOML"),
        (b"mode = 'live'", "keys: is missing"),
    ],
)
def test_a_configuration_that_cannot_be_read_ends_in_a_sentence(run_otp, tmp_path, content, said):
    """Every command that needs a configuration prints a message, not a traceback."""
    path = tmp_path / "otp.toml"
    if content is not None:
        path.write_bytes(content)

    ended = run_otp("check", "--config", path)

    assert (1, "") == (ended.exit_code, ended.out)
    assert re.search(said, ended.err)


@pytest.mark.parametrize(
    "command", ["accounts unlock --tenant dev", "authenticators reseal", "locked", "audit tail"]
)
def test_without_a_configuration_the_data_folder_of_dev_is_suggested(run_otp, tmp_path, command):
    """A newcomer has `make run` and no otp.toml; the help says the same."""
    words = command.split()

    ended = run_otp(*words, "--config", tmp_path / "otp.toml", stdin="u-81\n")
    shown = run_otp(*words[:2], "--help")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "Write one with 'otp-service init', or add '--config .otp'" in ended.err
    assert "or the data folder of 'make run'" in " ".join(shown.out.split())


def test_calibrate_measures_each_row_of_owasp_and_the_profile_in_force(
    run_otp, config, monkeypatch
):
    """A row has milliseconds, logins a second and the time of an offline attack, by the fastest engine."""
    monkeypatch.setenv("OTP_HASH__MEMORY_KIB", "8192")

    ended = run_otp("calibrate", "--seconds", "0.01", "--config", config)

    engines, heading, *rows = [line.split() for line in ended.out.splitlines() if line]
    names, times = engines[9::3], [float(time) for time in engines[10::3]]
    assert (0, "") == (ended.exit_code, ended.err)
    assert ["argon2-cffi", "libsodium"] == sorted(names)
    assert sorted(times) == times
    assert names[0] == heading[0]
    assert [*OWASP_PROFILES, (8192, 5)] == [(int(row[0]), int(row[2])) for row in rows]
    assert all(float(row[place]) > 0 for row in rows for place in (6, 8))
    assert ["in", "force"] == rows[-1][-2:]


def test_calibrate_needs_no_configuration(run_otp, tmp_path):
    """It then measures the default profile."""
    ended = run_otp("calibrate", "--seconds", "0.01", "--config", tmp_path / "none.toml")

    assert 0 == ended.exit_code
    assert re.search(r"^ +7168 KiB, 5 passes, .* in force$", ended.out, re.MULTILINE)


def test_calibrate_reports_missing_memory(run_otp, config, monkeypatch):
    """The message is a sentence; the same for `check`, and for a library that is wrong."""
    monkeypatch.setattr(ARGON2_CFFI, "compute", _raise_memory_error)

    missing = run_otp("calibrate", "--seconds", "0.01", "--config", config)
    monkeypatch.setattr(ARGON2_CFFI, "compute", lambda *_: bytes(32))
    wrong = run_otp("check", "--config", config)

    assert (1, 1) == (missing.exit_code, wrong.exit_code)
    assert "argon2 cannot run with" in missing.err
    assert "it fails a known-answer test" in wrong.err


def test_openapi_prints_the_document_that_is_committed(run_otp):
    """The output equals openapi.yaml."""
    assert (0, (ROOT / "openapi.yaml").read_text(), "") == run_otp("openapi")


def _raise_memory_error(*_):
    raise Argon2Error("Memory allocation error")


def test_check_marks_defaults_and_variables_and_names_what_it_ignores(
    run_otp, config, monkeypatch
) -> None:
    """An operator sees what was written, and that a variable of another program is not in force."""
    monkeypatch.setenv("OTP_VERSION", "27.1")
    monkeypatch.setenv("OTP_SERVICE__DRAIN_SECONDS", "7")

    ended = run_otp("check", "--config", config)

    assert re.search(r"(?m)^service\.port +8000$", ended.out)
    assert re.search(r"(?m)^service\.admin_tls +false  \(default\)$", ended.out)
    assert re.search(
        r"(?m)^service\.drain_seconds +7  \(from OTP_SERVICE__DRAIN_SECONDS\)$", ended.out
    )
    assert "environment: has OTP_VERSION: ignored, because no setting has such a name" in ended.out


def test_check_names_each_path_that_is_missing(run_otp, config) -> None:
    """`serve` would find it at its first connection."""
    text = config.read_text().replace("# tls_ca = ", "tls_ca = ")
    config.write_text(text)

    ended = run_otp("check", "--config", config)

    assert 1 == ended.exit_code
    assert "redis.tls_ca: /etc/otp/redis-ca.pem: No such file or directory" in ended.err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied. Let the user "),
        (
            IsADirectoryError(21, "Is a directory"),
            "Is a directory. Name the file in it with --config",
        ),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_a_configuration_that_exists_is_not_to_be_written_with_init(
    run_otp, config, monkeypatch, error, words
) -> None:
    """`init` would refuse it, or write other keys next to it."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Path, "read_text", fail)

    ended = run_otp("check", "--config", config)

    assert 1 == ended.exit_code
    assert f"cannot read {config}: {words}" in ended.err
    assert "init" not in ended.err
