"""The bare application: the same trips over the same wires, and nothing decided on the way.

It is what somebody writes who has to reach Redis four times and three times again, and a gateway
once: Litestar and redis-py as their documentation shows them, no limits, no events, no hash.
"""

import argparse
import itertools
import os
import secrets

import httpx
import msgspec
from litestar import Litestar, post
from redis.asyncio import Redis
from uvicorn.supervisors import Multiprocess

from otp_service.cli.uvicorn_servers import config_for, listen
from otp_service.sms.http_provider import new_transport


SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"

KEYS = 1024
"""How many keys it writes to: enough to be no hot spot, and memory stays as it is."""

REDIS, GATEWAY, PAYLOAD = "BENCH_REDIS", "BENCH_GATEWAY", "BENCH_PAYLOAD"


class Ask(msgspec.Struct):
    """The body of an issue."""

    phone_number: str


class Try(msgspec.Struct):
    """The body of a verify."""

    code: str


class View(msgspec.Struct):
    """The body of both answers."""

    id: str
    status: str


def bare() -> Litestar:
    """Return the application of one worker."""
    redis = Redis.from_url(os.environ[REDIS])
    script = redis.register_script(SCRIPT)
    transport = new_transport()
    payload = bytes(int(os.environ[PAYLOAD]))
    keys = itertools.cycle([f"bare:{number}" for number in range(KEYS)])

    async def trips(count: int) -> None:
        for _ in range(count):
            await script(keys=[next(keys)], args=[payload])

    @post("/v1/challenges")
    async def issue(data: Ask) -> View:
        await trips(3)
        text = f"{secrets.randbelow(10**6):06d} is your code."
        sms = httpx.Request(
            "POST", os.environ[GATEWAY], json={"to": data.phone_number, "text": text}
        )
        response = await transport.handle_async_request(sms)
        await response.aread()
        await trips(1)
        return View(secrets.token_hex(16), "pending")

    @post("/v1/challenges/{challenge:str}/verify", status_code=200)
    async def verify(challenge: str, data: Try) -> View:
        await trips(3)
        return View(challenge, "verified" if data.code else "pending")

    return Litestar([issue, verify], openapi_config=None)


def main() -> None:
    """Serve it as the service is served, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare_app", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    known = parser.parse_args()
    config = config_for("bench.bare_app:bare", 1, workers=known.workers)
    Multiprocess(config, sockets=[listen("127.0.0.1", known.port)]).run()


if __name__ == "__main__":
    main()
