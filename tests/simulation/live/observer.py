"""What the processes of the service report of themselves, through their `sitecustomize`.

Comparisons happen inside a worker, and what a worker has learned from a provider may differ from what
the provider has answered. Each line names the trace of its call: the caller has chosen it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec


SITECUSTOMIZE = """
import contextvars
import json
import os
import time

from otp_service.api.middleware import RequestMiddleware
from otp_service.core.ports import HashPriority
from otp_service.hashing.pool import ArgonPool
from otp_service.sms.router import ProviderRouter

trace = contextvars.ContextVar("trace", default="")
observations = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
call_app = RequestMiddleware.__call__
compute_argon2id = ArgonPool.compute_argon2id
submit_message = ProviderRouter._submit_message

def write(kind, **members):
    line = dict(kind=kind, at=int(time.time() * 1000), trace=trace.get(), pid=os.getpid(), **members)
    os.write(observations, json.dumps(line).encode() + b"\\n")

async def follow_trace(self, scope, receive, send):
    headers = dict(scope.get("headers") or ())
    trace.set(headers.get(b"traceparent", b"").decode()[3:35])
    await call_app(self, scope, receive, send)

async def observe_comparison(self, code, salt, profile=None, *, priority=HashPriority.ISSUE):
    result = await compute_argon2id(self, code, salt, profile, priority=priority)
    if priority == HashPriority.VERIFY:
        write("comparison", code=code, salt=salt.hex())
    return result

async def observe_submission(self, provider, message, began, ordinal):
    reference = message.for_submission(ordinal).reference
    asked = dict(provider=provider.name, number=message.to.e164, code=message.code)
    write("asked", reference=reference, **asked)
    submission, reply = await submit_message(self, provider, message, began, ordinal)
    write("learned", reference=reference, answer=submission.outcome, fault=submission.fault)
    return submission, reply

RequestMiddleware.__call__ = follow_trace
ArgonPool.compute_argon2id = observe_comparison
ProviderRouter._submit_message = observe_submission
"""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `reference`, `provider` and `number` are those of a submission, `salt` of a comparison."""

    kind: Literal["comparison", "asked", "learned"]
    at: int
    """Milliseconds since 1970, by the clock of this machine."""
    trace: str
    """That of the call, in hexadecimal; empty for what no call started."""
    pid: int
    reference: str = ""
    provider: str = ""
    number: str = ""
    answer: Literal["accepted", "refused", "unknown"] | None = None
    fault: Literal["recipient", "provider", "unknown"] | None = None
    code: str = ""
    salt: str = ""


def build_sitecustomize(path: Path) -> str:
    """Return the Python code that reports to a file."""
    return SITECUSTOMIZE.replace("{path!r}", repr(str(path)))


def read_observations(paths: Iterable[Path]) -> list[Observation]:
    """Return what was reported, in the order of time."""
    decoder = msgspec.json.Decoder(Observation)
    lines = (line for path in paths if path.exists() for line in path.read_bytes().splitlines())
    return sorted(map(decoder.decode, lines), key=lambda one: one.at)
