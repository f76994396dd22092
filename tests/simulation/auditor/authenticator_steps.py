"""A time step of an authenticator is accepted once, and never an older one after a newer one.

The contract: design "Requests" (RFC 6238 with SHA-1, 6 digits and 30 s; the current step and one on
either side; a step is accepted once, the confirming one included, and never an earlier one after a
later one; an unconfirmed token is valid for 30 minutes and for confirm alone); docs/authenticators.md;
docs/security.md ("a code of an app … accepted once", also after Redis was emptied: so no loss is an
excuse). By the clock of the store: once it was set back, no step of before is promised to be remembered
(docs/limits.md, `CodesAfterDataLoss`).
"""

import base64
import hmac
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.disturbance import Disturbance
from tests.simulation.auditor.index import HistoryIndex, read_code, read_text
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord, Refused


build = partial(build_violation, Promise.FACTORS)

STEP_MS = 30_000
STEPS_BEFORE_AND_AFTER = 1
UNCONFIRMED_MS = 30 * 60_000
ACCEPTING_KINDS = frozenset({"confirm_authenticator", "verify_authenticator"})


class KnownToken:
    """What is known of a sealed token from the calls that returned it."""

    def __init__(self, creation: CallRecord, secret: str, *, is_confirmed: bool) -> None:
        self.creation = creation
        self.secret = secret
        self.key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
        self.is_confirmed = is_confirmed

    def confirm(self) -> "KnownToken":
        return KnownToken(self.creation, self.secret, is_confirmed=True)


class Acceptance:
    """An accepted code: the first answer of a call and its repeats, and the steps it may be of."""

    def __init__(self, call: CallRecord, steps: list[int]) -> None:
        self.calls = [call]
        self.start, self.end = call.started_at, call.ended_at or call.started_at
        self.steps = steps

    def add_repeat(self, call: CallRecord) -> None:
        self.calls.append(call)
        self.end = min(self.end, call.ended_at or call.started_at)


def check_authenticators(index: HistoryIndex) -> Iterator[Violation]:
    """Yield what authenticators accepted and must not have, and the right codes that they refused."""
    tokens: dict[str, KnownToken] = {}
    acceptances: dict[tuple[str, str, str], dict[object, Acceptance]] = defaultdict(dict)
    for call in index.history.calls:
        if call.kind == "create_authenticator" and isinstance(call.outcome, Answered):
            secret = str(call.outcome.value["secret"])
            token = str(call.outcome.value["authenticator"])
            tokens[token] = KnownToken(call, secret, is_confirmed=False)
        elif call.kind in ACCEPTING_KINDS:
            known = tokens.get(read_text(call, "authenticator"))
            if known is not None:
                yield from _check_call(index.disturbance, call, known)
                _add_acceptance(index.disturbance, call, known, tokens, acceptances)
    for identity, groups in acceptances.items():
        yield from _check_order(index.disturbance, identity[1], list(groups.values()))


def _add_acceptance(
    disturbance: Disturbance,
    call: CallRecord,
    known: KnownToken,
    tokens: dict[str, KnownToken],
    acceptances: dict[tuple[str, str, str], dict[object, Acceptance]],
) -> None:
    if not isinstance(call.outcome, Answered):
        return
    returned = str(call.outcome.value.get("authenticator", ""))
    tokens[returned] = known.confirm()
    groups = acceptances[call.tenant, read_text(known.creation, "account"), known.secret]
    key = call.arguments.get("idempotency_key")
    group = (call.kind, key, read_code(call)) if key else call.number
    if group in groups:
        groups[group].add_repeat(call)
    else:
        groups[group] = Acceptance(call, find_steps(disturbance, call, known.key))


def find_steps(disturbance: Disturbance, call: CallRecord, key: bytes) -> list[int]:
    """Return the time steps whose code a call has sent, of those that it may be compared with."""
    code, end = read_code(call), call.ended_at or call.started_at
    earliest, latest = disturbance.read_store_clocks(call.started_at, end)
    first = earliest // STEP_MS - STEPS_BEFORE_AND_AFTER
    last = latest // STEP_MS + STEPS_BEFORE_AND_AFTER
    return [step for step in range(first, last + 1) if compute_code(key, step) == code]


def compute_code(key: bytes, step: int) -> str:
    """Return the code of a time step, by RFC 4226 §5.3."""
    mac = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    offset = mac[19] & 15
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def _check_call(
    disturbance: Disturbance, call: CallRecord, known: KnownToken
) -> Iterator[Violation]:
    """Check one answer by itself."""
    calls = [known.creation, call]
    if isinstance(call.outcome, Refused):
        if call.outcome.reason == "incorrect-code" and _is_right(disturbance, call, known):
            yield build("an authenticator refused the code of a near time step", calls)
        return
    if not isinstance(call.outcome, Answered):
        return
    if not find_steps(disturbance, call, known.key) and not call.arguments.get("idempotency_key"):
        yield build("an authenticator accepted a code of no near time step", calls)
    owner = (known.creation.tenant, read_text(known.creation, "account"))
    if owner != (call.tenant, read_text(call, "account")):
        yield build("an authenticator was accepted for another account", calls)
    if known.is_confirmed == (call.kind == "confirm_authenticator"):
        yield build("an authenticator was used in the wrong state", calls)
    if call.kind == "confirm_authenticator":
        created_at = known.creation.ended_at or known.creation.started_at
        is_late = call.started_at - created_at > UNCONFIRMED_MS
        if is_late and not disturbance.has_clock_step(created_at, call.started_at):
            yield build("an authenticator was confirmed after half an hour", calls)


def _is_right(disturbance: Disturbance, call: CallRecord, known: KnownToken) -> bool:
    """Return whether a code is near whenever the call compared it, and account and tenant are right."""
    if known.creation.tenant != call.tenant:
        return False
    if read_text(known.creation, "account") != read_text(call, "account"):
        return False
    span = (call.started_at, call.ended_at or call.started_at)
    first, last = (clock // STEP_MS for clock in disturbance.read_store_clocks(*span))
    steps = find_steps(disturbance, call, known.key)
    return any(last - 1 <= step <= first + 1 for step in steps)


def _check_order(
    disturbance: Disturbance, account: str, acceptances: list[Acceptance]
) -> Iterator[Violation]:
    """Check the accepted steps of one secret: each once, and growing in the order of the calls."""
    first, last = acceptances[0].start, max(acceptance.end for acceptance in acceptances)
    if disturbance.is_clock_set_back(first, last):
        return
    by_step: dict[int, Acceptance] = {}
    for acceptance in acceptances:
        if len(acceptance.steps) == 1:
            other = by_step.setdefault(acceptance.steps[0], acceptance)
            if other is not acceptance:
                calls = [*other.calls, *acceptance.calls]
                yield build("a time step was accepted twice", calls, subject=account)
    ended = sorted(acceptances, key=lambda acceptance: acceptance.end)
    next_ended, newest = 0, None
    for acceptance in sorted(acceptances, key=lambda acceptance: acceptance.start):
        while ended[next_ended].end < acceptance.start:
            steps = ended[next_ended].steps
            if steps and (newest is None or steps[0] > newest.steps[0]):
                newest = ended[next_ended]
            next_ended += 1
        if newest and acceptance.steps and acceptance.steps[-1] < newest.steps[0]:
            calls = [*newest.calls, *acceptance.calls]
            yield build("an older time step was accepted after a newer one", calls, subject=account)
