"""`serve` in this process, with real workers: its start, reloads, deaths and end."""

import contextlib
import http.client
import json
import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otp_service.core.tenant import hash_api_key
from tests.store import redis_servers


pytestmark = pytest.mark.slow

WAIT_SECONDS = 60


class Driver(threading.Thread):
    """Does something to a running `serve` in a thread, and then ends it."""

    def __init__(self, ports: tuple[int, int], log: Any, script: Any) -> None:
        super().__init__(daemon=True)
        self._ports, self._log, self._script = ports, log, script
        self.error: BaseException | None = None

    def run(self) -> None:
        """Wait for the service, run the script, and send SIGTERM to this process."""
        try:
            self.wait_for(self.is_ready, "readiness")
            self._script(self)
        except BaseException as error:  # noqa: BLE001  # the test raises it
            self.error = error
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def wait_for(self, condition: Any, what: str) -> None:
        """Wait until the condition holds."""
        # Each look is a request to the process that is waited for.
        redis_servers.wait_until(
            condition, timeout_seconds=WAIT_SECONDS, interval_seconds=0.2, description=what
        )

    def is_ready(self) -> bool:
        """Return whether every worker serves."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            return not self.status()["problems"]
        return False

    def get(self, path: str, port: int, key: str = "") -> tuple[int, bytes]:
        """Return status and body of a request."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def status(self) -> dict[str, Any]:
        """Return what /status shows."""
        found: dict[str, Any] = json.loads(self.get("/status", self._ports[1])[1])
        return found

    @property
    def public_port(self) -> int:
        """The port of the service."""
        return self._ports[0]

    def metrics(self) -> str:
        """Return the page for Prometheus."""
        return self.get("/metrics", self._ports[1])[1].decode()

    def worker_pids(self) -> set[int]:
        """Return the pids of workers that serve."""
        processes = self.status()["processes"]
        return {p["pid"] for p in processes if p["role"].startswith("worker") and p["ready"]}

    def logged(self) -> str:
        """Return the log so far."""
        text: str = self._log.text
        return text


@pytest.fixture
def run_serve(run_otp, config, monkeypatch, caplog):
    """Run `serve` while a script drives it; return the result of the command.

    It has one worker where a test needs no two: a worker is a second of CPU time.
    """
    ports = redis_servers.find_free_port(), redis_servers.find_free_port()
    monkeypatch.setenv("OTP_SERVICE__PORT", str(ports[0]))
    monkeypatch.setenv("OTP_SERVICE__ADMIN_PORT", str(ports[1]))
    monkeypatch.setattr("otp_service.telemetry.configure_logging", lambda *_: None)
    caplog.set_level(logging.INFO, logger="otp_service")

    def run(script: Any, workers: int = 1) -> Any:
        monkeypatch.setenv("OTP_SERVICE__WORKERS", str(workers))
        driver = Driver(ports, caplog, script)
        driver.start()
        result = run_otp("serve", "--config", config)
        driver.join(WAIT_SECONDS)
        if driver.error:
            raise driver.error
        return result

    yield run
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler
        )


def reload(driver: Driver, expected: str) -> None:
    """Send SIGHUP, and wait for the log line."""
    os.kill(os.getpid(), signal.SIGHUP)
    driver.wait_for(lambda: expected in driver.logged(), expected)


def test_a_refused_reload_is_reported_everywhere_and_the_next_one_revokes_a_key(
    run_serve, config: Path, monkeypatch
) -> None:
    """E1: one that failed was dropped, and the admin listener ran other settings than the workers."""
    text = config.read_text()

    def script(driver: Driver) -> None:
        first, before = driver.status(), driver.worker_pids()
        assert ["worker-1", "worker-2", "admin"] == [p["role"] for p in first["processes"]][:3]
        assert {first["configuration"]} == list_configurations(first)

        config.write_text("[service]\nhost = 7\n")
        reload(driver, "the reload is refused")
        second = driver.status()
        assert before == driver.worker_pids()
        assert first["configuration"] == second["configuration"]
        assert second["reload_refused"]
        assert "the last reload was refused" in second["problems"][0]
        assert "otp_reload_refused 1.0" in driver.metrics()
        assert f'configuration="{first["configuration"]}",process="worker-1"' in driver.metrics()

        # A worker that dies is replaced by one of the configuration in force, not of the file.
        os.kill(min(before), signal.SIGKILL)
        driver.wait_for(lambda: len(driver.worker_pids() - before) == 1, "another worker")
        assert {first["configuration"]} == list_configurations(driver.status())

        # The address and the number of workers stay until the next start.
        config.write_text(replace_first_key(text))
        monkeypatch.setenv("OTP_SERVICE__WORKERS", "3")
        kept = driver.worker_pids()
        reload(driver, "the reload is done")
        driver.wait_for(
            lambda: not {first["configuration"]} & list_configurations(driver.status()),
            "the helpers",
        )
        third = driver.status()
        assert not kept & driver.worker_pids()
        assert {third["configuration"]} == list_configurations(third)
        assert not third["reload_refused"]
        assert "service.workers takes effect at the next start" in str(third["problems"])

    result = run_serve(script, workers=2)

    assert 0 == result.exit_code


def list_configurations(status: dict[str, Any]) -> set[str]:
    """Return the configurations that the processes run."""
    return {process["configuration"] for process in status["processes"]}


def replace_first_key(text: str) -> str:
    """Return the settings with another API key."""
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if "sha256" in line and "#" not in line[:2])
    start = lines[place].index('sha256 = "') + 10
    new_hash = hash_api_key("another key").hex()
    lines[place] = lines[place][:start] + new_hash + lines[place][start + 64 :]
    return "\n".join(lines)


def count_responses(driver: Driver) -> int:
    """Return how many responses with 404 the metrics page of all workers counts."""
    families = text_string_to_metric_families(driver.metrics())
    samples = [s for f in families for s in f.samples if s.name == "otp_requests_total"]
    return int(sum(s.value for s in samples if s.labels["status"] == "404"))


def test_a_worker_that_stops_loses_no_count_and_a_killed_one_those_of_a_second(run_serve) -> None:
    """Counts are in the memory of the worker, and written once a second and at its end."""

    def count_requests(driver: Driver) -> None:
        for _ in range(20):
            assert 404 == driver.get("/none", driver.public_port)[0]

    def script(driver: Driver) -> None:
        count_requests(driver)
        assert count_responses(driver) < 20  # a scrape is up to a second old
        reload(driver, "the reload is done")
        assert 20 == count_responses(driver)

        count_requests(driver)
        driver.wait_for(lambda: 40 == count_responses(driver), "a write")
        pids = driver.worker_pids()
        os.kill(min(pids), signal.SIGKILL)
        driver.wait_for(lambda: len(driver.worker_pids() - pids) == 1, "another worker")
        assert 40 == count_responses(driver)

    assert 0 == run_serve(script, workers=2).exit_code


def test_a_new_worker_that_fails_refuses_the_reload(run_serve, monkeypatch) -> None:
    """Its reason is an exit code: it has never served, and no other process changes."""

    def script(driver: Driver) -> None:
        before = driver.worker_pids()
        monkeypatch.setattr("otp_service.cli.worker_process.WORKER_MODULE", "no.such.module")
        reload(driver, "the reload is refused")
        assert before == driver.worker_pids()
        assert "a new worker ended with exit code 1" in driver.status()["problems"][0]

    assert 0 == run_serve(script).exit_code


def test_workers_that_fail_at_the_start_end_the_service(run_otp, config, monkeypatch) -> None:
    """With the reason, instead of a crash loop."""
    for name in ("PORT", "ADMIN_PORT"):
        monkeypatch.setenv(f"OTP_SERVICE__{name}", str(redis_servers.find_free_port()))
    monkeypatch.setattr("otp_service.cli.worker_process.WORKER_MODULE", "no.such.module")
    monkeypatch.setattr("otp_service.telemetry.configure_logging", lambda *_: None)
    started_at = time.monotonic()

    result = run_otp("serve", "--config", config)

    assert 1 == result.exit_code
    assert "a worker ended with exit code 1" in result.err
    assert time.monotonic() - started_at < WAIT_SECONDS
