"""Row (e): issues within one second after a time without work, and verifies at the same time."""

import asyncio
import random
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path

import msgspec

from bench.engines import Program
from bench.environment import BenchEnvironment, Target
from bench.options import Options
from bench.progress import print_progress
from bench.traffic import BenchConnection, BenchTraffic, UnexpectedReplyError, generate_numbers
from bench.workloads import build_minimal_body


BURST_SECONDS, VERIFY_SECONDS = 1.0, 2.0
"""The verifies begin with the burst and go on after it, with codes that were issued before."""

ISSUES_PER_VERIFY = 5

NO_REPLY, REPLY_SECONDS = 0, 60.0
"""The status of a request without a reply in this time."""

QUIET_CPU_SHARE, QUIET_SECONDS, MAX_QUIET_WAIT_SECONDS = 0.05, 0.5, 60.0
"""An idle service uses less than this share of a core; one that prepares codes uses all of it."""


class Reply(msgspec.Struct, frozen=True):
    """The status of a request, and the seconds from the instant at which it was due."""

    status: int
    seconds: float


class BurstResult(msgspec.Struct):
    """All bursts of one program."""

    issues: list[list[Reply]] = []
    """The replies of each burst."""
    verifies: list[Reply] = []

    def count_issues(self, status: int) -> list[int]:
        """Return how many issues of each burst had this status."""
        return [Counter(reply.status for reply in each)[status] for each in self.issues]

    def list_issue_seconds(self) -> list[float]:
        """Return the durations of the issues that were admitted."""
        replies = (reply for each in self.issues for reply in each)
        return [reply.seconds for reply in replies if reply.status == HTTPStatus.CREATED]


class BurstBench:
    """Bursts on one service; each begins when the service has nothing to do."""

    def __init__(
        self, environment: BenchEnvironment, traffic: BenchTraffic, target: Target, issues: int
    ) -> None:
        """Take the number of issues in a burst."""
        self.result = BurstResult()
        self._environment = environment
        self._traffic = traffic
        self._target = target
        self._chance = random.Random(0)  # noqa: S311  # not for security
        self._numbers = generate_numbers()
        self._issues, self._verifies = issues, max(2, issues // ISSUES_PER_VERIFY)

    async def measure_burst(self) -> None:
        """Run one burst. Raises UnexpectedReplyError if no code can be issued before it."""
        count = self._issues + self._verifies
        async with self._traffic.open_connections(self._target, count) as connections:
            issuers, verifiers = connections[: self._issues], connections[self._issues :]
            verifies = [await self._issue_code(connection) for connection in verifiers]
            await self._wait_until_quiet()
            began = time.perf_counter()
            issues, replies = await asyncio.gather(
                asyncio.gather(*(self._issue_at(began, connection) for connection in issuers)),
                asyncio.gather(
                    *(
                        self._send_at(self._choose_due(began, VERIFY_SECONDS), connection, *verify)
                        for connection, verify in zip(verifiers, verifies, strict=True)
                    )
                ),
            )
        self.result.issues.append(issues)
        self.result.verifies += replies

    async def _issue_code(self, connection: BenchConnection) -> tuple[str, str]:
        """Issue a code; return path and body of its verify."""
        number = next(self._numbers)
        status, body = await connection.send_post("/v1/challenges", build_minimal_body(number))
        if status != HTTPStatus.CREATED:
            raise UnexpectedReplyError(f"{status} {body.decode(errors='replace')[:500]}")
        challenge = msgspec.json.decode(body)["id"]
        code = self._traffic.phones.pop(number)
        return f"/v1/challenges/{challenge}/verify", f'{{"code":"{code}"}}'

    async def _issue_at(self, began: float, connection: BenchConnection) -> Reply:
        due, body = self._choose_due(began, BURST_SECONDS), build_minimal_body(next(self._numbers))
        return await self._send_at(due, connection, "/v1/challenges", body)

    def _choose_due(self, began: float, seconds: float) -> float:
        return began + self._chance.uniform(0.0, seconds)

    @staticmethod
    async def _send_at(due: float, connection: BenchConnection, path: str, body: str) -> Reply:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            status, _ = await connection.send_post(path, body, REPLY_SECONDS)
        except TimeoutError:
            status = NO_REPLY
        return Reply(status, time.perf_counter() - due)

    async def _wait_until_quiet(self) -> None:
        """Wait until the service uses no CPU: then it has prepared what it prepares."""
        give_up = time.perf_counter() + MAX_QUIET_WAIT_SECONDS
        quiet = 0
        while quiet < 2 and time.perf_counter() < give_up:  # noqa: PLR2004  # twice in a row
            before = self._environment.read_service_cpu_seconds(self._target)
            await asyncio.sleep(QUIET_SECONDS)
            used = self._environment.read_service_cpu_seconds(self._target) - before
            quiet = quiet + 1 if used < QUIET_CPU_SHARE * QUIET_SECONDS else 0


async def measure_bursts(
    options: Options, traffic: BenchTraffic, folder: Path, programs: dict[str, Program]
) -> dict[str, BurstResult]:
    """Return the bursts of each program, in turns. Each service has the default settings."""
    benches: dict[str, BurstBench] = {}
    with BenchEnvironment(folder, traffic.gateway_url, options.workers) as environment:
        settings = {"WORKERS": str(options.threads)}
        for number, (name, program) in enumerate(programs.items()):
            target = environment.start_service(f"burst-{number}", settings, program)
            benches[name] = BurstBench(environment, traffic, target, options.burst_issues)
        for _ in range(options.bursts):
            for name, bench in benches.items():
                print_progress(f"a burst: {name}")
                await bench.measure_burst()
    return {name: bench.result for name, bench in benches.items()}
