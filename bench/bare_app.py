"""The bare application: the same calls over the same connections, without any decision.

It calls Redis four times for an issue and three times for a verify, and the gateway once, with Litestar
and redis-py as their documentation shows them: no limits, no events, no hash.
"""

import argparse
import asyncio
import itertools
import os
import secrets
import signal
import socket

import httpx
import msgspec
import uvloop
from litestar import Litestar, post
from redis.asyncio import Redis

from otp_service.cli.http_server import ConnectionLimits, HttpServer
from otp_service.cli.port_spread import spread_by_port
from otp_service.cli.slot_listeners import SlotListeners
from otp_service.sms.http_provider import create_transport


SET_SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"

KEY_COUNT = 1024
"""Keys that it writes to: enough to avoid a hot spot, and the memory does not grow."""

GATEWAY_SECONDS = 5.0

REDIS_VARIABLE, GATEWAY_VARIABLE, PAYLOAD_VARIABLE = "BENCH_REDIS", "BENCH_GATEWAY", "BENCH_PAYLOAD"


class IssueBody(msgspec.Struct):
    """The body of an issue."""

    phone_number: str


class VerifyBody(msgspec.Struct):
    """The body of a verify."""

    code: str


class ChallengeBody(msgspec.Struct):
    """The body of both responses."""

    id: str
    status: str


def create_app() -> Litestar:
    """Return the application of a worker."""
    redis = Redis.from_url(os.environ[REDIS_VARIABLE])
    script = redis.register_script(SET_SCRIPT)
    transport = create_transport()
    timeouts = httpx.Timeout(GATEWAY_SECONDS).as_dict()
    payload = bytes(int(os.environ[PAYLOAD_VARIABLE]))
    keys = itertools.cycle([f"bare:{number}" for number in range(KEY_COUNT)])

    async def make_trips(count: int) -> None:
        for _ in range(count):
            await script(keys=[next(keys)], args=[payload])

    @post("/v1/challenges")
    async def issue_challenge(data: IssueBody) -> ChallengeBody:
        await make_trips(3)
        text = f"{secrets.randbelow(10**6):06d} is your code."
        sms = httpx.Request(
            "POST",
            os.environ[GATEWAY_VARIABLE],
            json={"to": data.phone_number, "text": text},
            extensions={"timeout": timeouts},
        )
        response = await transport.handle_async_request(sms)
        await response.aread()
        await make_trips(1)
        return ChallengeBody(secrets.token_hex(16), "pending")

    @post("/v1/challenges/{challenge:str}/verify", status_code=200)
    async def verify_code(challenge: str, data: VerifyBody) -> ChallengeBody:
        await make_trips(3)
        return ChallengeBody(challenge, "verified" if data.code else "pending")

    return Litestar([issue_challenge, verify_code], openapi_config=None)


def main() -> None:
    """Serve it in the way of `otp-service serve`, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare_app", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    args = parser.parse_args()
    listeners = SlotListeners("127.0.0.1", args.port, args.workers)
    workers = [_fork_worker(listeners[slot], args.workers) for slot in range(args.workers)]

    def stop_workers(*_: object) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop_workers)
    for pid in workers:
        os.waitpid(pid, 0)


def _fork_worker(listener: socket.socket, workers: int) -> int:
    """Start a worker, and return its pid."""
    if pid := os.fork():
        return pid
    uvloop.run(_serve(listener, workers))
    os._exit(0)


async def _serve(listener: socket.socket, workers: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = HttpServer(create_app(), listener, ConnectionLimits(1024, 65))
    server.start()
    spread_by_port(listener, workers)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    main()
