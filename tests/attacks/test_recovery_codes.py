"""Attacks on recovery codes: race, guess, forge, swap, roll back, over two workers."""

import itertools
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import HttpResponse, RunningService, build_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

CREATE_PATH, VERIFY_PATH = "/v1/recovery-codes", "/v1/recovery-codes/verify"
WRONG_CODE = "0000-0000-0000-0000"


class CodeHolder:
    """A user of `shop` with a recovery set, and the token in the user's row."""

    def __init__(self, service: RunningService, account: str) -> None:
        self.service = service
        self.account = account
        self.renew()

    def renew(self) -> None:
        """Create a set, and store its token."""
        body = {"account": self.account}
        created = self.service.send_request("POST", CREATE_PATH, body=body).json
        self.token: str = created["recovery_set"]
        self.codes: list[str] = created["codes"]

    def build_body(self, code: Any, token: str | None = None) -> dict[str, Any]:
        return {"recovery_set": token or self.token, "account": self.account, "code": code}

    def verify(
        self, code: Any, token: str | None = None, *, by: str = "shop", **more: Any
    ) -> HttpResponse:
        body = self.build_body(code, token) | more
        return self.service.send_request("POST", VERIFY_PATH, by=by, body=body)

    def build_call(self, code: str, key: str = "") -> bytes:
        """Return the bytes of a verify request."""
        return build_request(
            "POST",
            VERIFY_PATH,
            body=self.build_body(code),
            key=self.service.keys["shop"],
            headers={"Idempotency-Key": key} if key else {},
        )

    def count_events(self, name: str) -> int:
        """Return how many events of this type the account has, without repeats."""
        found = self.service.send_request(
            "POST",
            "/v1/audit/search",
            by="security",
            body={"account": self.account, "limit": 1000, "type": name},
        ).json["events"]
        return sum(not event.get("repeated") for event in found)


def count_outcomes(answers: list[HttpResponse]) -> Counter[str]:
    """Count the responses by problem type, or by status where they have no problem type."""
    return Counter(answer.problem_type or str(answer.status) for answer in answers)


_account_counter = itertools.count()


@pytest.fixture
def create_holder(service: RunningService) -> Callable[[], CodeHolder]:
    """Return a function that returns another user each time."""
    return lambda: CodeHolder(service, f"recovering-{next(_account_counter)}")


@pytest.fixture
def holder(create_holder: Callable[[], CodeHolder]) -> CodeHolder:
    return create_holder()


# ------------------------------------------------------------------------------------------- races


async def test_of_thirty_uses_of_one_code_at_once_one_is_accepted(holder: CodeHolder) -> None:
    """Two workers read the same marks: the compare-and-swap of them decides."""
    calls = [holder.build_call(holder.codes[0])] * 30

    outcomes = count_outcomes(await holder.service.send_together(calls))

    assert 1 == outcomes.pop("200")
    assert {"code-already-used", "rate-limited"} >= outcomes.keys()
    assert 1 == holder.count_events("recovery.used")


async def test_of_thirty_repeats_at_once_one_is_a_use(holder: CodeHolder) -> None:
    """All that are answered have the same token; the others come while the first call runs."""
    calls = [holder.build_call(holder.codes[0], key="repeated")] * 30

    answers = await holder.service.send_together(calls)

    accepted = [answer for answer in answers if answer.status == 200]
    assert accepted
    assert 1 == len({answer.json["recovery_set"] for answer in accepted})
    assert {"200", "idempotency-key-in-use"} >= count_outcomes(answers).keys()
    assert 1 == holder.count_events("recovery.used")


async def test_five_codes_at_once_are_all_used_and_each_once(holder: CodeHolder) -> None:
    """Each is decided again on the marks of the others: none is lost, or the code works again."""
    calls = [holder.build_call(code) for code in holder.codes[:5]]

    answers = await holder.service.send_together(calls)

    assert {"200": 5} == count_outcomes(answers)
    assert [5, 6, 7, 8, 9] == sorted(answer.json["codes_left"] for answer in answers)
    again = [holder.verify(code) for code in holder.codes[:5]]
    assert {"code-already-used": 5} == count_outcomes(again)


async def test_of_sixty_guesses_at_once_five_are_compared(holder: CodeHolder) -> None:
    """The attempt is charged before argon2 runs, whichever worker runs it."""
    before = holder.service.count_samples("otp_argon2_seconds_count")
    calls = [holder.build_call(f"0000-0000-0000-{i:04}") for i in range(60)]

    outcomes = count_outcomes(await holder.service.send_together(calls))

    assert {"incorrect-code": 5, "rate-limited": 55} == outcomes
    assert 5 == holder.service.count_samples("otp_argon2_seconds_count") - before


def test_new_sets_are_no_fresh_budget(holder: CodeHolder) -> None:
    """Five failures an hour, over all sets of the account; and five sets a day."""
    answers = []
    for _ in range(4):
        answers += [holder.verify(WRONG_CODE), holder.verify(WRONG_CODE)]
        holder.renew()

    assert {"incorrect-code": 5, "rate-limited": 3} == count_outcomes(answers)
    refused = holder.service.send_request("POST", CREATE_PATH, body={"account": holder.account})
    assert "rate-limited" == refused.problem_type


# ------------------------------------------------------------------------------------------- tokens


def decode_token(token: str) -> bytes:
    text = token.partition(".")[2]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode_token(data: bytes, kind: str = "r1") -> str:
    return f"{kind}.{urlsafe_b64encode(data).rstrip(b'=').decode()}"


def list_altered_tokens(token: str) -> Iterator[str]:
    """Yield the token with a bit flipped in each byte, cut at lengths, and written otherwise."""
    data = decode_token(token)
    for index in range(len(data)):
        flipped = bytearray(data)
        flipped[index] ^= 1 << index % 8
        yield encode_token(bytes(flipped))
    yield from (encode_token(data[:size]) for size in range(0, len(data), 7))
    yield from (token + "=", token + "A", token[:-1], f" {token}", f"{token}\n", token.upper())
    yield from (encode_token(data, kind) for kind in ("a1", "r2", "R1", "", "r1.r1"))
    yield from (".", "r1", "r1.", "\x00", "\U0001f600", "r1." + "A" * 10_000)


def test_an_altered_token_is_invalid_and_never_an_error(holder: CodeHolder) -> None:
    """Every one is answered alike, costs no attempt, and the right token still works."""
    bodies = set()
    for token in list_altered_tokens(holder.token):
        refused = holder.verify(holder.codes[0], token)
        assert (422, "invalid-recovery-set") == (refused.status, refused.problem_type), token
        bodies.add(json.dumps(refused.json))
    assert 1 == len(bodies)

    assert 200 == holder.verify(holder.codes[0]).status
    assert "Traceback" not in holder.service.read_complete_log()


def test_a_token_works_for_its_own_tenant_and_account_alone(
    holder: CodeHolder, create_holder: Callable[[], CodeHolder]
) -> None:
    """An attacker who can write to the caller's database puts an own token into another row."""
    other = create_holder()

    swapped = [
        holder.verify(holder.codes[0], by="bank"),
        other.verify(holder.codes[0], holder.token),
        holder.verify(other.codes[0], other.token),
    ]

    assert {"invalid-recovery-set": 3} == count_outcomes(swapped)
    assert "incorrect-code" == holder.verify(other.codes[0]).problem_type
    assert 200 == holder.verify(holder.codes[0]).status


def test_a_token_of_an_authenticator_is_no_recovery_set(holder: CodeHolder) -> None:
    """Each kind refuses the other one, under either name."""
    created = holder.service.send_request(
        "POST", "/v1/authenticators", body={"account": holder.account}
    ).json["authenticator"]

    for token in (created, f"r1{created[2:]}"):
        assert "invalid-recovery-set" == holder.verify(holder.codes[0], token).problem_type
    for token in (holder.token, f"a1{holder.token[2:]}"):
        body = {"authenticator": token, "account": holder.account, "code": "123456"}
        for call in ("confirm", "verify"):
            refused = holder.service.send_request("POST", f"/v1/authenticators/{call}", body=body)
            assert "invalid-authenticator" == refused.problem_type


# ------------------------------------------------------------------------------------- roll back


def find_marks(redis: EmbeddedServer) -> dict[bytes, bytes]:
    """Return the marks of used codes of all sets, by their keys."""
    with redis_servers.open_client(redis) as client:
        return {key: client.get(key) for key in client.keys("*:recovery:*")}


def test_every_earlier_token_of_a_set_refuses_a_used_code(holder: CodeHolder) -> None:
    """A restored row of the caller gives no code back, at either worker."""
    tokens = [holder.token]
    for code in holder.codes[:3]:
        tokens.append(holder.verify(code, tokens[-1]).json["recovery_set"])

    answers = [holder.verify(holder.codes[0], token) for token in tokens]

    assert {"code-already-used": 4} == count_outcomes(answers)
    assert 6 == holder.verify(holder.codes[3], tokens[0]).json["codes_left"]


def test_marks_of_another_set_are_no_marks(
    holder: CodeHolder, create_holder: Callable[[], CodeHolder], redis: EmbeddedServer
) -> None:
    """A record is bound to its key: a copy is tampering, not a state."""
    other, before = create_holder(), find_marks(redis)
    holder.verify(holder.codes[0])
    (key,) = find_marks(redis).keys() - before.keys()
    other.verify(other.codes[0])
    (others,) = find_marks(redis).keys() - before.keys() - {key}
    with redis_servers.open_client(redis) as client:
        client.copy(others, key, replace=True)

    answers = [holder.verify(code) for code in holder.codes[:2]]

    assert {"store-unavailable": 2} == count_outcomes(answers)
    assert 1 <= holder.count_events("store.tampered")
