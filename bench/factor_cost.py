"""`python -m bench.factor_cost`: CPU of a verify, of an authenticator and of a challenge.

In each round it prepares authenticators and challenges, which does not count, and then verifies each
once with the right code. The CPU is that of the service and of Redis. Challenges are verified with
the default argon2id profile and with the cheapest one; an authenticator needs no argon2.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pyotp
import uvloop

from bench.environment import CHEAPEST_HASH, BenchEnvironment, Target
from bench.options import Options
from bench.table import format_header, format_row
from bench.traffic import (
    BenchConnection,
    BenchTraffic,
    UnexpectedReplyError,
    generate_numbers,
)


VerifyCall = tuple[str, Callable[[], dict[str, str]]]
"""The path of a verify, and what builds its body at the time of the call."""

PERIOD_SECONDS = 30


class FactorCost:
    """The CPU of verifies at one service, in seconds for each, one value a round."""

    def __init__(
        self, environment: BenchEnvironment, traffic: BenchTraffic, target: Target, connections: int
    ) -> None:
        self.seconds: list[float] = []
        self._environment = environment
        self._traffic = traffic
        self._target = target
        self._connections = connections

    async def measure(
        self, prepare: Callable[[BenchConnection], Awaitable[VerifyCall]], count: int
    ) -> None:
        """Prepare this many verifies, and measure the CPU of the verifies alone."""
        async with self._traffic.open_connections(self._target, self._connections) as connections:
            calls: list[VerifyCall] = []

            async def prepare_one(connection: BenchConnection) -> None:
                calls.append(await prepare(connection))

            async def verify_one(connection: BenchConnection) -> None:
                path, build_body = calls.pop()
                await post(connection, path, build_body())

            await _run_on_all(connections, prepare_one, count)
            before = self._environment.read_cpu_seconds(self._target)
            await _run_on_all(connections, verify_one, count)
            used = self._environment.read_cpu_seconds(self._target) - before
        self.seconds.append(used / count)


async def _run_on_all(
    connections: Sequence[BenchConnection],
    run_one: Callable[[BenchConnection], Awaitable[None]],
    count: int,
) -> None:
    """Run `count` pieces of work, one at a time on each connection."""
    places = iter(range(count))

    async def run_on_one(connection: BenchConnection) -> None:
        for _ in places:
            await run_one(connection)

    await asyncio.gather(*map(run_on_one, connections))


async def post(connection: BenchConnection, path: str, body: dict[str, str]) -> dict[str, Any]:
    """Return the JSON of a 2xx reply. Raises UnexpectedReplyError for any other."""
    status, reply = await connection.send_post(path, msgspec.json.encode(body).decode())
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise UnexpectedReplyError(f"{status} {reply.decode(errors='replace')[:500]}")
    answer: dict[str, Any] = msgspec.json.decode(reply)
    return answer


class Preparation:
    """What comes before a verify: a challenge, or an authenticator that is confirmed."""

    def __init__(self, phones: dict[str, str]) -> None:
        self._phones = phones
        self._numbers = generate_numbers()

    async def issue_challenge(self, connection: BenchConnection) -> VerifyCall:
        number = next(self._numbers)
        issued = await post(connection, "/v1/challenges", {"phone_number": number})
        code = self._phones.pop(number)
        return f"/v1/challenges/{issued['id']}/verify", lambda: {"code": code}

    async def confirm_authenticator(self, connection: BenchConnection) -> VerifyCall:
        """Confirm with the code of the step before, so that the present one is new."""
        account = {"account": f"u{next(self._numbers)}"}
        created = await post(connection, "/v1/authenticators", account)
        app = pyotp.TOTP(created["secret"], interval=PERIOD_SECONDS)
        sent = account | {"authenticator": created["authenticator"]}
        code = app.at(int(time.time()) - PERIOD_SECONDS)
        active = await post(connection, "/v1/authenticators/confirm", sent | {"code": code})
        sent = account | {"authenticator": active["authenticator"]}
        return "/v1/authenticators/verify", lambda: sent | {"code": app.at(int(time.time()))}


def main() -> int:
    options, count = parse_options()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run_bench(options, count, Path(folder)))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def parse_options() -> tuple[Options, int]:
    parser = argparse.ArgumentParser(prog="python -m bench.factor_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds, each with all rows (7)")
    parser.add_argument("--verifies", type=int, default=500, help="verifies of each row (500)")
    parser.add_argument(
        "--connections", type=int, default=16, help="connections of the login back end (16)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    args = vars(parser.parse_args())
    count = args.pop("verifies")
    cores = len(os.sched_getaffinity(0))
    return Options(**args, seconds=0, threads=1, cores=cores), count


async def run_bench(options: Options, count: int, folder: Path) -> list[str]:
    """Return the lines of the table."""
    async with BenchTraffic() as traffic:
        with BenchEnvironment(folder, traffic.gateway_url, options.workers) as environment:
            cheapest = environment.start_service("cheapest", CHEAPEST_HASH)
            default = environment.start_service("default", {"WORKERS": "1"})
            preparation = Preparation(traffic.phones)
            rows = {
                name: (FactorCost(environment, traffic, target, options.connections), prepare)
                for name, target, prepare in (
                    ("authenticator", cheapest, preparation.confirm_authenticator),
                    ("challenge, cheapest hash", cheapest, preparation.issue_challenge),
                    ("challenge, default hash", default, preparation.issue_challenge),
                )
            }
            for _ in range(1 + options.rounds):
                for cost, prepare in rows.values():
                    await cost.measure(prepare, count)
            seconds = {name: cost.seconds[1:] for name, (cost, _) in rows.items()}
            return list(format_table(options, count, environment.redis_version, seconds))


def format_table(
    options: Options, count: int, server: str, seconds: dict[str, list[float]]
) -> Iterator[str]:
    """Yield the lines of the table; the first round was only the warm-up."""
    header = list(format_header(options, server))
    yield header[0]
    yield (
        f"{options.workers} workers, {options.connections} connections, medians of "
        f"{options.rounds} rounds of {count} verifies"
    )
    yield ""
    yield format_row("a verify", "CPU ms", "lowest to highest", "ratio")
    (baseline, *_) = seconds.values()
    for name, each in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(each, baseline, strict=True))
        spread = f"{1000 * min(each):.2f} to {1000 * max(each):.2f}"
        cpu = f"{1000 * statistics.median(each):.2f}"
        yield format_row(f"    {name}", cpu, spread, f"{ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
