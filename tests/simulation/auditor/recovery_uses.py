"""A recovery code is accepted once, and the token that is returned leaves it out.

The contract: design "Requests" (a used code is not accepted again with an older token of the same
set; `codes_left` leaves out every code that is used in the token or in Redis); docs/authenticators.md
("After a loss of Redis only the newest token protects"; creating a set costs one of five a day).
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import HistoryIndex, read_code, read_number, read_text
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord


build = partial(build_violation, Promise.FACTORS)

CODES_PER_SET = 10
_CHARS_THAT_LOOK_ALIKE = str.maketrans("ILO", "110")
"""docs/authenticators.md: `I`, `L` and `O` count as `1`, `1` and `0`."""


class RecoverySet:
    """One set: its codes, and which calls had which of them accepted."""

    def __init__(self, creation: CallRecord, codes: frozenset[str]) -> None:
        self.creation = creation
        self.codes = codes
        self.uses: dict[str, list[CallRecord]] = defaultdict(list)
        """By the code, in order of start; without repeats of the same call."""


class KnownToken:
    """A token of a set, and the codes that it leaves out."""

    def __init__(self, recovery_set: RecoverySet, used: frozenset[str]) -> None:
        self.recovery_set = recovery_set
        self.used = used


def check_recovery_codes(index: HistoryIndex) -> Iterator[Violation]:
    """Yield what recovery sets accepted and must not have."""
    tokens: dict[str, KnownToken] = {}
    seen: set[object] = set()
    for call in index.history.calls:
        outcome = call.outcome
        if not isinstance(outcome, Answered):
            continue
        if call.kind == "create_recovery_codes":
            codes = outcome.value["codes"]
            assert isinstance(codes, list)
            recovery_set = RecoverySet(call, frozenset(normalize_code(code) for code in codes))
            tokens[str(outcome.value["recovery_set"])] = KnownToken(recovery_set, frozenset())
        elif call.kind == "verify_recovery_code":
            known = tokens.get(read_text(call, "recovery_set"))
            if known is not None and _is_first(call, seen):
                yield from _check_use(index, call, known)
                code = normalize_code(read_code(call))
                known.recovery_set.uses[code].append(call)
                returned = str(outcome.value["recovery_set"])
                tokens[returned] = KnownToken(known.recovery_set, known.used | {code})


def normalize_code(code: str) -> str:
    """Return the form in which codes are compared."""
    return code.replace("-", "").replace(" ", "").upper().translate(_CHARS_THAT_LOOK_ALIKE)


def _is_first(call: CallRecord, seen: set[object]) -> bool:
    """Return whether no earlier answer to the same call is known."""
    key = call.arguments.get("idempotency_key")
    request = (call.tenant, key, read_code(call), call.arguments.get("recovery_set"))
    if key and request in seen:
        return False
    seen.add(request)
    return True


def _check_use(index: HistoryIndex, call: CallRecord, known: KnownToken) -> Iterator[Violation]:
    recovery_set, code = known.recovery_set, normalize_code(read_code(call))
    calls = [recovery_set.creation, call]
    if code not in recovery_set.codes:
        yield build("a recovery code was accepted that is not in its set", calls)
    creation = recovery_set.creation
    owner = (creation.tenant, read_text(creation, "account"))
    if owner != (call.tenant, read_text(call, "account")):
        yield build("a recovery code was accepted for another account", calls)
    for earlier in recovery_set.uses[code]:
        start, end = earlier.started_at, call.ended_at or call.started_at
        if code in known.used or not index.disturbance.has_lost_writes(start, end):
            yield build("a recovery code was accepted twice", [*calls, earlier])
            break
    yield from _check_codes_left(index, call, known)


def _check_codes_left(
    index: HistoryIndex, call: CallRecord, known: KnownToken
) -> Iterator[Violation]:
    """Check the count against the codes that were certainly used before the call, and its own."""
    assert isinstance(call.outcome, Answered)
    used = {
        code
        for code, uses in known.recovery_set.uses.items()
        if any((use.ended_at or call.started_at) < call.started_at for use in uses)
    }
    if index.disturbance.has_lost_writes(0, call.ended_at or call.started_at):
        used = set(known.used)
    used.add(normalize_code(read_code(call)))
    left = read_number(call.outcome, "codes_left")
    if left > CODES_PER_SET - len(used):
        rule = "codes_left counts a code that was used"
        yield build(rule, [known.recovery_set.creation, call], details=f"{left} left")
