"""Fixtures and hooks for every test."""

import gc
import ipaddress
import os
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.collection import import_share_first
from tests.store import redis_kinds, redis_servers
from tests.store.known_cluster import create_known_lines


# A deadline for each example fails where the machine is busy; pytest-timeout bounds each test. CI tries
# the same examples each time, so that what it says is about the change; by hand they are new ones.
STRICT = os.environ.get("OTP_TESTS_STRICT") == "1"
hypothesis.settings.register_profile("busy machine", deadline=None, derandomize=STRICT)
hypothesis.settings.load_profile("busy machine")


class SkipFailurePlugin:
    """With OTP_TESTS_STRICT=1, as in CI, a test that cannot run is a failure.

    Without it, a missing browser or redis-server skips the tests that need it. Where everything is
    installed for them, a skip would hide that they no longer run.
    """

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record each skipped test. An expected failure is reported as skipped, but it ran."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[report.nodeid] = _get_skip_reason(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a module that skips itself as a whole."""
        if report.skipped:
            self.skipped[report.nodeid] = _get_skip_reason(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a successful run with skips into a failed one."""
        if self.skipped and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the skipped tests."""
        if self.skipped:
            terminalreporter.section(
                "OTP_TESTS_STRICT: the run failed because these tests were skipped"
            )
            for nodeid, reason in self.skipped.items():
                terminalreporter.line(f"{nodeid}: {reason}")


def _get_skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    match report.longrepr:
        case (_, _, reason):  # file, line and "Skipped: reason"
            return reason
        case other:
            return str(other)


def pytest_configure(config: pytest.Config) -> None:
    """Register the strict mode if requested; with xdist the controller receives every report."""
    if STRICT and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipFailurePlugin())


@hypothesis.settings(max_examples=1, database=None)
@hypothesis.given(hypothesis.strategies.none())
def _register_random_of_hypothesis(_: None) -> None:
    """Have Hypothesis register its own generator before `gc.freeze`.

    On 3.14 it would find no reference to it among frozen objects, and warn in the first of its tests.
    """


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect tests without the garbage collector, which would never look at them again.

    They and the modules that they import are millions of objects. Looking through them again and
    again was two fifths of the time of a collection, and a fifth of that of small tests.
    """
    _register_random_of_hypothesis()
    gc.disable()
    try:
        import_share_first(session.config)
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Return the embedded server for the whole run; `script_client` empties it for each test."""
    with redis_servers.start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Return Debian's Redis 7, the oldest supported version."""
    if not redis_servers.REDIS_7_BINARY.exists():
        pytest.skip("needs Debian's redis-server: apt install redis-server")
    folder = tmp_path_factory.mktemp("redis7")
    with redis_servers.start_server(folder, binary=redis_servers.REDIS_7_BINARY) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EmbeddedServer]]:
    """Return three masters that share the slots."""
    folder = tmp_path_factory.mktemp("cluster")
    # On a busy machine a master may not run for seconds, and no test wants it to be replaced.
    with redis_servers.start_cluster(folder, node_timeout_ms=20_000) as masters:
        yield masters


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the kinds of Redis for each test that asks for one."""
    if "masters" in metafunc.fixturenames:
        kinds = redis_kinds.choose_kinds(metafunc.module.__name__, metafunc.function.__name__)
        metafunc.parametrize("masters", kinds, indirect=True, scope="function")


@pytest.fixture
def masters(request: pytest.FixtureRequest) -> list[EmbeddedServer]:
    """Return the masters of a kind of Redis, with no data."""
    return redis_servers.empty_masters(request.getfixturevalue(request.param))


@pytest.fixture
async def script_client(masters: list[EmbeddedServer]) -> AsyncIterator[ScriptClient]:
    """Return a client of the kinds of Redis that `choose_kinds` says."""
    # A long timeout, because the machine may run other tests at the same time.
    async with ScriptClient(create_known_lines(masters, timeout_ms=5000)) as script_client:
        yield script_client


@pytest.fixture
async def one_server_client(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of the embedded server, with no data."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as script_client:
        yield script_client


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    signed_certificate = (
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
    path.write_bytes(private + signed_certificate.public_bytes(serialization.Encoding.PEM))
    return path
