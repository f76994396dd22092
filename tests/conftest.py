"""What holds for every test."""

import ipaddress
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


class SkipFailurePlugin:
    """With OTP_TESTS_STRICT=1, as in CI, a test that cannot run is a failure.

    Elsewhere a missing browser or redis-server skips the tests that need it; where everything was
    installed for them, a skip would hide that they no longer run.
    """

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what was skipped; an expected failure, which is reported so too, was run."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[report.nodeid] = _get_skip_reason(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module may skip itself as a whole."""
        if report.skipped:
            self.skipped[report.nodeid] = _get_skip_reason(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green run into a failed one."""
        if self.skipped and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List them."""
        if self.skipped:
            terminalreporter.section("OTP_TESTS_STRICT: these were skipped, so the run has failed")
            for nodeid, reason in self.skipped.items():
                terminalreporter.line(f"{nodeid}: {reason}")


def _get_skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    match report.longrepr:
        case (_, _, reason):  # file, line and "Skipped: why"
            return reason
        case other:
            return str(other)


def pytest_configure(config: pytest.Config) -> None:
    """Be strict where it is asked for; with xdist the controller hears every report."""
    if os.environ.get("OTP_TESTS_STRICT") == "1" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipFailurePlugin())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The embedded server, for the whole run; `link` empties it for each test."""
    with redis_servers.start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Debian's Redis 7, the oldest that is supported."""
    if not redis_servers.REDIS_7_BINARY.exists():
        pytest.skip("no redis-server of Debian's: apt install redis-server")
    folder = tmp_path_factory.mktemp("redis7")
    with redis_servers.start_server(folder, binary=redis_servers.REDIS_7_BINARY) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EmbeddedServer]]:
    """Three masters that share the slots."""
    with redis_servers.start_cluster(tmp_path_factory.mktemp("cluster")) as masters:
        yield masters


@pytest.fixture(params=["server", "redis_7", "cluster"])
def masters(request: pytest.FixtureRequest) -> list[EmbeddedServer]:
    """Each kind of Redis in turn, as the masters that it consists of, with nothing in them."""
    found = request.getfixturevalue(request.param)
    masters: list[EmbeddedServer] = found if isinstance(found, list) else [found]
    for master in masters:
        with redis_servers.open_client(master) as client:
            client.flushall()
    return masters


@pytest.fixture
async def script_client(masters: list[EmbeddedServer]) -> AsyncIterator[ScriptClient]:
    """A link to each kind of Redis in turn."""
    # As patient as a machine has to be that runs other tests at the same time.
    async with ScriptClient(
        create_redis_client(**redis_servers.build_connect_options(masters), timeout_ms=5000)
    ) as link:
        yield link


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody trusts, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "gateway.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
