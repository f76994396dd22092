"""`init` and `key new`."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from otp_service.audit.archive_format.key_files import create_key_files, read_key
from otp_service.cli.common import read_settings
from otp_service.cli.sealer_runner import find_sealer_errors
from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.tenant import Scope, hash_api_key
from otp_service.settings import find_errors, find_warnings


def now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def key_in(text):
    """Return the key that a command printed, on a line of its own."""
    return re.search(r"^  ([\w-]{43})$", text, re.MULTILINE)[1]


def line_in(text):
    """Return the printed line for the configuration."""
    return re.search(r"^  (.*\{ id = .*)$", text, re.MULTILINE)[1]


def test_init_writes_a_configuration_that_only_its_owner_can_read(run_otp, tmp_path):
    """It prints the API key; the file has only the hash."""
    path = tmp_path / "otp.toml"

    ended = run_otp("init", "--config", path, "--tenant", "shop", "--country", "gb", "IE")

    key, _ = read_settings(path).build_api_keys()
    assert (0, "") == (ended.exit_code, ended.err)
    assert 0o600 == path.stat().st_mode & 0o777
    assert hash_api_key(key_in(ended.out)) == key.sha256
    assert key_in(ended.out) not in path.read_text()
    assert f"otp-service check --config {path}" in ended.out


def test_init_creates_the_key_of_the_archive_beside_the_file(run_otp, tmp_path):
    """A newcomer has an archive, whose key and folder `check` accepts."""
    path = tmp_path / "otp.toml"

    ended = run_otp("init", "--config", path, "--country", "GB")

    audit, key = read_settings(path).audit, tmp_path / "audit.pem"
    assert (str(tmp_path / "archive"), str(key)) == (audit.archive_folder, audit.signing_key)
    assert 0o600 == key.stat().st_mode & 0o777
    assert [] == list(find_sealer_errors(audit))
    assert str(key) in ended.out
    assert read_key(key).public.id in (tmp_path / "audit.pem.pub").read_text()


def test_init_keeps_a_key_that_exists(run_otp, tmp_path):
    """It may have sealed an archive already."""
    key = tmp_path / "audit.pem"
    create_key_files(key)
    before = key.read_bytes()

    run_otp("init", "--config", tmp_path / "otp.toml")

    assert before == key.read_bytes()


def test_init_without_an_archive_says_so(run_otp, tmp_path):
    """The setting is explicit, and no key is written."""
    path = tmp_path / "otp.toml"

    ended = run_otp("init", "--config", path, "--archive", "none")

    assert "none" == read_settings(path).audit.archive
    assert "not archived" in ended.out
    assert [path] == list(tmp_path.iterdir())


def test_init_reports_a_key_that_it_cannot_write(run_otp, tmp_path):
    """The configuration is written, and the command for the key is named."""
    (tmp_path / "audit.pem.pub").mkdir()

    ended = run_otp("init", "--config", tmp_path / "otp.toml")

    assert 1 == ended.exit_code
    assert "otp-service audit key" in ended.err


def test_init_lists_what_is_left_to_fill_in(run_otp, tmp_path):
    """The list equals the errors of `check`."""
    path = tmp_path / "otp.toml"

    ended = run_otp("init", "--config", path)

    missing = find_errors(read_settings(path))
    assert ["tenants.app.countries", "providers.gateway.url"] == [f.setting for f in missing]
    assert all(str(fault) in ended.out for fault in missing)


def test_init_does_not_overwrite_a_file(run_otp, tmp_path):
    """The keys in the file may be in use."""
    path = tmp_path / "otp.toml"
    path.write_text("mine")

    ended = run_otp("init", "--config", path)

    assert 1 == ended.exit_code
    assert "File exists" in ended.err
    assert "mine" == path.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--country", "UK"], "--country has UK (write GB)"),
        (["--country", "gb", "xx", "el"], "--country has EL (write GR), XX"),
        (["--country", "GB", "--brand", "a@b"], "--brand take out @"),
        (["--tenant", "a" * 32], "--brand use 1 to 20 characters"),
        (["--country", "GB", "--brand", "L\u2019Or\u00e9al Paris"], "\u2019 (U+2019, write ')"),
    ],
)
def test_init_refuses_invalid_options_and_writes_nothing(run_otp, tmp_path, arguments, said):
    """A file with them would have to be corrected by hand, or deleted with the keys in it."""
    ended = run_otp("init", "--config", tmp_path / "otp.toml", *arguments)

    assert (1, "") == (ended.exit_code, ended.out)
    assert said in ended.err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("tenant", "team"), [("shop", "security"), ("security", "security-team")])
def test_init_creates_a_key_for_the_security_team_and_says_what_it_is_for(
    run_otp, tmp_path, tenant, team
):
    """Without it the page of the security team cannot be opened; it reads, and sends nothing."""
    path = tmp_path / "otp.toml"

    ended = run_otp("init", "--config", path, "--tenant", tenant, "--country", "GB")

    first, second = re.findall(r"^  ([\w-]{43})$", ended.out, re.MULTILINE)
    settings = read_settings(path)
    keys = {key.tenant: key for key in settings.build_api_keys()}
    assert hash_api_key(first) == keys[tenant].sha256
    assert hash_api_key(second) == keys[team].sha256
    assert {Scope.AUDIT_ALL} == keys[team].scopes
    assert not settings.tenant_settings[team].can_send
    assert "http://127.0.0.1:8001/audit" in ended.out
    assert f"the tenant '{team}'" in ended.out
    assert second not in path.read_text()


def test_init_names_the_file_that_it_cannot_write(run_otp, tmp_path):
    """The folder is missing."""
    ended = run_otp("init", "--config", tmp_path / "nowhere" / "otp.toml")

    assert 1 == ended.exit_code
    assert "cannot write" in ended.err


def test_the_line_of_a_new_key_fits_the_configuration(run_otp, config):
    """It has the scopes and the expiry, and the hash of the printed key."""
    ended = run_otp(
        "key", "new", "--tenant", "shop", "--scope", "audit", "operator", "--expires", "90d"
    )
    text = config.read_text()
    config.write_text(text.replace("keys = [\n", f"keys = [\n  {line_in(ended.out)}\n"))

    key, _ = read_settings(config).build_api_keys()

    assert hash_api_key(key_in(ended.out)) == key.sha256
    assert {Scope.AUDIT, Scope.OPERATOR} == key.scopes
    assert abs(key.expires_at - now() - timedelta(days=90) / timedelta(milliseconds=1)) < 600_000
    assert "[tenants.shop]" in ended.out


def test_a_new_key_has_the_scope_challenges_and_no_expiry_by_default(run_otp):
    """This is what a login back end needs."""
    line = line_in(run_otp("key", "new").out)

    assert 'scopes = ["challenges"] },' in line
    assert "expires" not in line


@pytest.mark.parametrize("ring", KEY_RING_NAMES)
def test_the_line_of_a_new_secret_fits_behind_the_old_one(run_otp, config, ring):
    """This is the first step of a rotation; `check` accepts it."""
    line = line_in(run_otp("key", "new", "--secret", ring).out)
    text = re.sub(rf"^({ring} = \[.*)\]$", rf"\1, {line} ]", config.read_text(), flags=re.MULTILINE)
    config.write_text(text)

    settings = read_settings(config)

    assert 2 == len(getattr(settings.keys, ring).keys)
    assert [] == find_errors(settings)


@pytest.mark.parametrize(
    "arguments",
    [
        ["key"],
        ["key", "new", "--expires", "soon"],
        ["key", "new", "--scope", "everything"],
        ["key", "new", "--tenant", "The Shop"],
        ["init", "--tenant", "a]\n[b"],
        ["nothing"],
        [],
    ],
)
def test_wrong_arguments_end_with_2(run_otp, arguments):
    """The usage is printed."""
    ended = run_otp(*arguments)

    assert 2 == ended.exit_code
    assert "usage: otp-service" in ended.err


def test_init_for_tests_leaves_nothing_to_fill_in(run_otp, tmp_path):
    """Only its Redis is missing: no provider, no country, and every key is one for tests."""
    path = tmp_path / "test.toml"

    ended = run_otp("init", "--mode", "test", "--config", path)

    settings = read_settings(path)
    ids = [key.id for name in KEY_RING_NAMES for key in getattr(settings.keys, name).keys]
    ids += [key.id for key in settings.build_api_keys()]
    assert (0, []) == (ended.exit_code, find_errors(settings))
    assert ("test", ["inbox"]) == (settings.mode, [*settings.providers])
    assert 8 == len([key_id for key_id in ids if key_id.startswith("test-")]) == len(ids)
    assert settings.has_relaxed_limits
    assert "Fill in" not in ended.out
    assert ended.out.endswith(f"Next: otp-service check --config {path}\n")


def test_fixed_codes_need_only_their_line_in_a_file_for_tests(run_otp, tmp_path):
    """The commented line of the file is valid as it is."""
    path = tmp_path / "test.toml"
    run_otp("init", "--mode", "test", "--config", path, "--country", "DE")

    path.write_text(path.read_text().replace("# fixed_codes", "fixed_codes"))

    settings = read_settings(path)
    assert [] == find_errors(settings)
    assert 1 == len(settings.effective_fixed_codes)
    assert frozenset({"DE"}) == settings.tenant_settings["app"].countries


def test_the_date_of_a_key_for_tests_is_read_too(run_otp, tmp_path):
    """Or `check` would say that its id has no date."""
    path = tmp_path / "test.toml"
    run_otp("init", "--mode", "test", "--config", path)

    settings = {str(issue.setting) for issue in find_warnings(read_settings(path), now())}

    assert "keys.pseudonym" not in settings
    assert "test.relaxed_limits" in settings
