"""Jobs at intervals end with their process, also where a cancellation is lost."""

import asyncio
import time
from pathlib import Path

import pytest

from otp_service.app import Application, background_tasks
from otp_service.app.background_tasks import BackgroundTasks
from otp_service.core.errors import StoreUnavailable
from otp_service.store.embedded import EmbeddedServer
from otp_service.task_end import cancel_tasks, wait_for_event
from tests.app.test_application import settings_of


@pytest.fixture
def short_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_tasks, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(background_tasks, "CANCEL_SECONDS", 0.5)


class SwallowingJob:
    """Swallows as many cancellations, as redis-py does on Python 3.11 (python/cpython#86296)."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.started = asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.times -= 1
                if self.times < 0:
                    raise


async def test_jobs_run_at_intervals_until_the_stop():
    """A run that finds no Redis is skipped."""
    runs = []

    async def job() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise StoreUnavailable

    tasks = BackgroundTasks()
    assert not tasks.has_started
    tasks.start_periodic(0.01, job, first_after=0)
    while len(runs) < 3:  # noqa: ASYNC110  # the job has nothing to wait for
        await asyncio.sleep(0.01)
    await tasks.stop()

    count = len(runs)
    await asyncio.sleep(0.05)
    assert count == len(runs)


async def test_a_running_job_is_not_canceled():
    """Its cancellation could be swallowed, and it ends by itself."""
    outcomes = []

    async def job() -> None:
        try:
            await asyncio.sleep(0.1)
        finally:
            task = asyncio.current_task()
            outcomes.append(task is not None and task.cancelling())

    tasks = BackgroundTasks()
    tasks.start_periodic(60, job, first_after=0)
    await asyncio.sleep(0.02)
    await tasks.stop()

    assert [0] == outcomes


@pytest.mark.usefixtures("short_stop")
async def test_a_swallowed_cancellation_is_repeated(caplog):
    """A command hung for ever at its exit, because it was canceled once."""
    job = SwallowingJob(times=2)
    tasks = BackgroundTasks()
    tasks.start_periodic(60, job, first_after=0)
    await job.started.wait()

    async with asyncio.timeout(5):
        await tasks.stop()

    assert -1 == job.times
    assert [] == caplog.messages


@pytest.mark.usefixtures("short_stop")
async def test_a_job_that_never_ends_does_not_keep_the_process(caplog):
    """It is given up, with a line in the log."""
    job = SwallowingJob(times=10**6)
    tasks = BackgroundTasks()
    tasks.start_periodic(60, job, first_after=0)
    await job.started.wait()

    async with asyncio.timeout(5):
        await tasks.stop()

    job.times = 0
    assert ["1 background tasks do not end; the process ends without them"] == caplog.messages


async def test_a_job_that_failed_is_reported_at_once_and_runs_again(caplog):
    """Without it the process would go on with what the job had read last, and nobody would know."""
    runs = []

    async def job() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError

    tasks = BackgroundTasks()
    tasks.start_periodic(0.01, job, first_after=0)
    while len(runs) < 2:  # noqa: ASYNC110  # the job has nothing to wait for
        await asyncio.sleep(0.01)
    reported = list(caplog.messages)
    await tasks.stop()

    assert ["a background task failed, and runs again in 0 s"] == reported
    assert isinstance(caplog.records[0].exc_info[1], RuntimeError)


@pytest.mark.usefixtures("short_stop")
async def test_an_application_stops_although_its_task_swallows_the_cancellation(
    server: EmbeddedServer, tmp_path: Path, monkeypatch
):
    """As a task that redis-py was connecting for."""
    app = Application(settings_of(server, tmp_path))
    job = SwallowingJob(times=2)
    monkeypatch.setattr(app, "_sync_provider_health", job)
    monkeypatch.setattr("otp_service.app.factories.RANDOM_FRACTION", lambda: 0.0)
    await app.start()
    await job.started.wait()
    began = time.monotonic()

    async with asyncio.timeout(10):
        await app.stop()

    assert time.monotonic() - began < 5


async def test_tasks_that_do_not_end_are_returned():
    """The caller decides what that means."""
    job = SwallowingJob(times=10**6)
    task = asyncio.create_task(job())
    await job.started.wait()

    assert {task} == await cancel_tasks([task], timeout_seconds=0.01)

    job.times = 0
    assert set() == await cancel_tasks([task], timeout_seconds=5)
    assert set() == await cancel_tasks([], timeout_seconds=5)


async def test_an_event_is_awaited_for_a_time():
    event = asyncio.Event()
    assert not await wait_for_event(event, 0.01)

    event.set()
    assert await wait_for_event(event, 0)
