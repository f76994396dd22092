"""One run: what is measured, in which order, and what came of it."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable

import msgspec
import redis

from bench.argon2_rate import hashes_per_second
from bench.environment import CHEAPEST, Stage, Target
from bench.traffic import Outside, Pairs, Refusals, Tally, Work, numbers
from otp_service.core.argon2_profile import DEFAULT


TRIPS = 7
"""Round trips to Redis of a pair, one after another: four of an issue and three of a verify."""

REFUSED = 64
"""Numbers that are asked for again and again, while their cooldown lasts."""

HASHES = 2
"""Of a pair."""


class Options(msgspec.Struct, frozen=True):
    """What the command line can change, and how many cores there are."""

    rounds: int
    seconds: float
    connections: int
    workers: int
    threads: int
    cores: int


class Round(msgspec.Struct, frozen=True):
    """What was measured in turn: each next to what it is compared with."""

    ceiling: Tally
    default: Tally
    cheapest: Tally
    bare: Tally
    full: Tally
    refusals: Tally


class Half(msgspec.Struct, frozen=True):
    """How long calls took at this rate."""

    rate: float
    tally: Tally


class Bench:
    """One run on one stage."""

    def __init__(self, options: Options, stage: Stage, outside: Outside) -> None:
        self.options = options
        self.rounds: list[Round] = []
        self.halves: dict[str, Half] = {}
        self.payload = 0
        """Bytes that a trip of the service brings to Redis, and so one of the bare application."""
        self._stage = stage
        self._outside = outside
        self._numbers = numbers()
        threads = {"WORKERS": str(options.threads)}
        self._default = stage.service("default", threads)
        self._cheapest = stage.service("cheapest", threads | CHEAPEST)
        self._bare: Target

    async def warm_up(self) -> None:
        """Call everybody once, and see how much a trip carries."""
        with redis.Redis.from_url(self._stage.redis) as client:
            before = client.info("stats")["total_net_input_bytes"]
            tally = await self._pairs(self._cheapest, plain)
            after = client.info("stats")["total_net_input_bytes"]
        self.payload = (after - before) // (len(tally.verify) * TRIPS)
        self._bare = self._stage.bare(self.payload)
        await self._pairs(self._bare, plain)
        await self._pairs(self._default, plain)

    async def measure_round(self) -> None:
        """Measure everything once."""
        self.rounds.append(
            Round(
                ceiling=await self._ceiling(),
                default=await self._pairs(self._default, plain),
                cheapest=await self._pairs(self._cheapest, plain),
                bare=await self._pairs(self._bare, plain),
                full=await self._pairs(self._cheapest, full),
                refusals=await self._refusals(),
            )
        )

    async def measure_halves(self) -> None:
        """Measure how long calls take at half of what there can be."""
        for name, target in (("default", self._default), ("cheapest", self._cheapest)):
            rate = statistics.median(tally.rate for tally in self.all_of(name)) / 2
            work = Pairs(plain, self._numbers, self._outside.phones)
            async with self._outside.connected(target, self.options.connections) as connections:
                tally = await work.pace(connections, 4 * self.options.seconds, rate)
            self.halves[name] = Half(rate, tally)

    def all_of(self, name: str) -> list[Tally]:
        """Return what the rounds have measured of this."""
        return [getattr(one, name) for one in self.rounds]

    async def _ceiling(self) -> Tally:
        options = self.options
        threads = options.workers * options.threads
        before = time.process_time()
        hashes = await asyncio.to_thread(hashes_per_second, DEFAULT, threads, options.seconds)
        taken = time.process_time() - before
        return Tally(rate=hashes / HASHES, cpu=taken / max(1.0, hashes * options.seconds) * HASHES)

    async def _pairs(self, target: Target, body: Callable[[str], str]) -> Tally:
        return await self._flood(target, Pairs(body, self._numbers, self._outside.phones))

    async def _refusals(self) -> Tally:
        same = itertools.cycle(list(itertools.islice(self._numbers, REFUSED)))
        return await self._flood(self._cheapest, Refusals(plain, same))

    async def _flood(self, target: Target, work: Work) -> Tally:
        async with self._outside.connected(target, self.options.connections) as connections:
            before = self._stage.cpu(target)
            tally = await work.flood(connections, self.options.seconds)
            tally.cpu = (self._stage.cpu(target) - before) / len(tally.issue)
        return tally


def plain(number: str) -> str:
    """Return an issue that says no more than it must."""
    return f'{{"phone_number":"{number}"}}'


def full(number: str) -> str:
    """Return one that also says whose it is: two more buckets here, and two for the verify."""
    digits = int(number[-7:])
    address = f"10.{digits >> 16 & 255}.{digits >> 8 & 255}.{digits & 255}"
    return f'{{"phone_number":"{number}","account":"u{number[1:]}","client_ip":"{address}"}}'
