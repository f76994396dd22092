"""A challenge as a state machine: its invariants hold in every order of calls."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from otp_service.core.challenge import (
    CHALLENGE_ID,
    ENDED_ERRORS,
    Challenge,
    ChallengeSecret,
    ChallengeStatus,
    LiveCode,
    VerifyReplayKey,
    build_challenge_id,
    parse_partition,
)
from otp_service.core.delivery import Accepted, Submission
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeEnded,
    ChallengeExpired,
    ChallengeLocked,
    SendsExhausted,
)
from otp_service.core.policy import Policy


NOW = 1_763_814_000_123
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
SEND_TIMEOUT = 13 * SECOND
REPLAY_KEY = VerifyReplayKey(b"key", b"code")


def build_challenge(policy: Policy = Policy(), now: int = NOW) -> Challenge:  # noqa: B008  # frozen
    """Return a challenge as `issue` creates it."""
    return Challenge(
        tenant="shop",
        id=build_challenge_id(7, bytes(16)),
        version=1,
        purpose="login",
        account=None,
        masked_number="+44…56",
        number_pseudonym="1:00",
        country="GB",
        created_at=now,
        deadline=now + policy.lifetime * 1000,
        ends_at=now + policy.lifetime * 1000,
        resend_at=now + policy.cooldown * SECOND,
        attempts_left=policy.attempts,
        sends_left=policy.sends - 1,
    )


def build_live_code(send: int, settles_at: int = 0) -> LiveCode:
    """Return the live code of a send, whose hash is the number of the send."""
    return LiveCode(str(send).encode(), "1", send, settles_at)


def list_sends(codes: tuple[LiveCode, ...]) -> list[int]:
    """Return the send of each code."""
    return [live_code.send for live_code in codes]


def claim_attempts(challenge: Challenge, times: int) -> Challenge:
    """Return the challenge after this many claims."""
    for _ in range(times):
        challenge = challenge.charge_attempt(NOW)
    return challenge


class ChallengeMachine(RuleBasedStateMachine):
    """One challenge and its secret, changed by callers in any order."""

    @initialize(
        attempts=st.integers(1, 5), max_live_codes=st.integers(1, 2), max_sends=st.integers(1, 10)
    )
    def issue(self, attempts: int, max_live_codes: int, max_sends: int) -> None:
        """Start with any policy that can be configured."""
        self.policy = Policy(attempts=attempts, live_codes=max_live_codes, sends=max_sends)
        self.now = NOW
        self.first = self.challenge = build_challenge(self.policy)
        self.secret = ChallengeSecret("+447400123456", bytes(16), (build_live_code(1),))
        self.before = self.challenge
        self.last_status = self.challenge.compute_status(self.now)
        self.charged = self.unclaims = self.claims = 0
        self.in_flight: dict[int, int] = {}
        self.wins = 0

    def store_change(self, new: Challenge) -> None:
        """Store the result of a change."""
        assert new.version == self.challenge.version + 1
        self.challenge = new

    def check_refusal(self, status: ChallengeStatus, error: ChallengeEnded) -> None:
        """A refusal names the status, and every status has its own refusal."""
        assert ENDED_ERRORS[status] is type(error)

    @rule(
        span=st.one_of(st.integers(0, 40 * SECOND), st.sampled_from([SEND_TIMEOUT, MINUTE, HOUR]))
    )
    def wait(self, span: int) -> None:
        self.now += span

    @rule()
    def claim(self) -> None:
        """R15, R16: only a pending challenge can be claimed, and each claim is charged first."""
        status = self.challenge.compute_status(self.now)
        try:
            new = self.challenge.charge_attempt(self.now)
        except ChallengeEnded as error:
            self.check_refusal(status, error)
            return
        assert status is ChallengeStatus.PENDING
        assert new.attempts_left == self.challenge.attempts_left - 1
        self.store_change(new)
        self.charged += 1
        self.claims += 1

    @precondition(lambda self: self.charged)
    @rule()
    def unclaim(self) -> None:
        """Another limit refused, so nothing was compared."""
        self.store_change(self.challenge.refund_attempt())
        self.charged -= 1
        self.unclaims += 1

    @precondition(lambda self: self.charged)
    @rule()
    def lose(self) -> None:
        """The code was wrong; the claim remains charged."""
        self.charged -= 1

    @precondition(lambda self: self.charged)
    @rule()
    def win(self) -> None:
        """R4: a claim that was charged in time wins, unless the challenge was decided meanwhile."""
        self.charged -= 1
        if self.challenge.stored_status is ChallengeStatus.PENDING:
            self.store_change(self.challenge.mark_verified(self.now, REPLAY_KEY))
            self.wins += 1
            return
        with pytest.raises(ENDED_ERRORS[self.challenge.stored_status]):
            self.challenge.mark_verified(self.now, REPLAY_KEY)

    @rule()
    def cancel(self) -> None:
        """R14: a second cancel changes nothing, and no other ended challenge can be canceled."""
        status = self.challenge.compute_status(self.now)
        if status is ChallengeStatus.CANCELED:
            assert self.challenge.cancel(self.now) is self.challenge
        elif status is ChallengeStatus.PENDING:
            self.store_change(self.challenge.cancel(self.now))
        else:
            with pytest.raises(ENDED_ERRORS[status]):
                self.challenge.cancel(self.now)

    @rule()
    def resend(self) -> None:
        """R3, R7: another code in addition to the earlier ones; a limit enforces the cooldown."""
        status, remaining = (
            self.challenge.compute_status(self.now),
            self.challenge.deadline - self.now,
        )
        try:
            new = self.challenge.add_send(self.now, self.policy.cooldown * SECOND)
        except ChallengeEnded as error:
            too_late = status is ChallengeStatus.PENDING and remaining < MINUTE
            self.check_refusal(ChallengeStatus.EXPIRED if too_late else status, error)
            return
        except SendsExhausted:
            assert 0 == self.challenge.sends_left
            return
        assert new.sends_left == self.challenge.sends_left - 1
        self.store_change(new)
        self.secret = self.secret.add_code(build_live_code(new.sends, self.now + SEND_TIMEOUT))
        self.in_flight[new.sends] = self.now

    @precondition(lambda self: self.in_flight)
    @rule(is_accepted=st.booleans(), choice=st.integers(0, 9))
    def settle(self, is_accepted: bool, choice: int) -> None:  # noqa: FBT001
        """A provider accepted the message or not, and that is recorded in every status."""
        send = sorted(self.in_flight)[choice % len(self.in_flight)]
        del self.in_flight[send]
        submission = Submission.from_reply("p1", Accepted("m"), at=0, milliseconds=1)
        self.store_change(self.challenge.add_submissions((submission,)))
        max_live_codes = self.policy.live_codes
        self.secret = self.secret.confirm_send(
            send, may_have_been_sent=is_accepted, now=self.now, max_live_codes=max_live_codes
        )
        assert is_accepted or send not in list_sends(self.secret.codes)
        if not is_accepted:
            self.store_change(self.challenge.refund_send())

    @invariant()
    def check_attempts_left(self) -> None:
        """R16: at most five, and every missing attempt was charged."""
        assert 0 <= self.challenge.attempts_left <= self.policy.attempts <= 5
        charged = self.policy.attempts - self.claims + self.unclaims
        assert charged == self.challenge.attempts_left

    @invariant()
    def check_sends_left(self) -> None:
        """The contract's states: three sends, and the first counts."""
        assert 0 <= self.challenge.sends_left <= self.policy.sends - 1

    @invariant()
    def check_bound_fields(self) -> None:
        """R3: neither the deadline nor any other field to which the code is bound changes."""
        fields = (
            "tenant",
            "id",
            "purpose",
            "account",
            "number_pseudonym",
            "created_at",
            "deadline",
        )
        for field in fields:
            assert getattr(self.first, field) == getattr(self.challenge, field)

    @invariant()
    def check_version(self) -> None:
        """Every change has another version; otherwise two concurrent callers would not conflict."""
        assert self.challenge.version >= self.before.version
        assert (self.challenge == self.before) == (self.challenge.version == self.before.version)
        self.before = self.challenge

    @invariant()
    def check_final_status(self) -> None:
        """R4: verified and canceled are final; an expired challenge can only be verified."""
        status = self.challenge.compute_status(self.now)
        if self.last_status in {ChallengeStatus.VERIFIED, ChallengeStatus.CANCELED}:
            assert status is self.last_status
        if self.last_status is ChallengeStatus.EXPIRED:
            assert status in {ChallengeStatus.EXPIRED, ChallengeStatus.VERIFIED}
        assert self.wins == (status is ChallengeStatus.VERIFIED)
        self.last_status = status

    @invariant()
    def check_purge_time(self) -> None:
        """The contract's states: after an hour every call returns 404."""
        status, ends_at = self.challenge.compute_status(self.now), self.challenge.ends_at
        assert ends_at <= max(self.now, self.challenge.deadline)
        if status in {ChallengeStatus.PENDING, ChallengeStatus.EXPIRED}:
            assert ends_at == self.challenge.deadline
        assert not self.challenge.is_purged(ends_at + HOUR - 1)
        assert self.challenge.is_purged(ends_at + HOUR)

    @invariant()
    def check_live_codes(self) -> None:
        """R7: the newest accepted codes, at most two, and one code of each send in flight."""
        max_live_codes = self.policy.live_codes
        live = self.secret.select_live_codes(self.now, max_live_codes)
        settled = [live_code for live_code in live if live_code.confirmed_at <= self.now]
        sending = [live_code for live_code in live if live_code.confirmed_at > self.now]
        assert len(settled) <= max_live_codes <= 2
        assert set(list_sends(tuple(sending))) <= set(self.in_flight)
        assert 1 == max(Counter(list_sends(live)).values(), default=1)
        candidates = [
            live_code.send for live_code in self.secret.codes if live_code.confirmed_at <= self.now
        ]
        assert sorted(candidates)[-max_live_codes:] == sorted(list_sends(tuple(settled)))

    @invariant()
    def check_verification_fields(self) -> None:
        """R54: the response is stored only once the code is used."""
        is_verified = self.challenge.stored_status is ChallengeStatus.VERIFIED
        assert is_verified == (self.challenge.verified_at is not None)
        assert is_verified == (self.challenge.replay_key is not None)


TestChallengeMachine = ChallengeMachine.TestCase
TestChallengeMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------------------------- single cases


def test_the_last_claim_locks_and_ends_a_challenge() -> None:
    """R16: five attempts, and a sixth is refused whatever its code."""
    locked = claim_attempts(build_challenge(), 5)

    assert ChallengeStatus.LOCKED == locked.compute_status(NOW)
    assert NOW == locked.ends_at
    with pytest.raises(ChallengeLocked):
        locked.charge_attempt(NOW)


def test_a_charged_claim_wins_after_the_lock_and_after_the_deadline() -> None:
    """R15 as this project decides it: whatever claims follow it."""
    locked = claim_attempts(build_challenge(), 5)

    for instant in (NOW, NOW + 10 * MINUTE):
        assert ChallengeStatus.VERIFIED == locked.mark_verified(instant, None).compute_status(
            instant
        )


def test_a_challenge_is_verified_once_and_not_after_its_cancellation() -> None:
    """R4: one caller wins; a challenge that its tenant canceled remains canceled."""
    challenge = build_challenge().charge_attempt(NOW)

    with pytest.raises(ChallengeAlreadyVerified):
        challenge.mark_verified(NOW, None).mark_verified(NOW, None)
    with pytest.raises(ChallengeCanceled):
        challenge.cancel(NOW).mark_verified(NOW, None)


def test_refunding_the_last_claim_reopens_a_challenge_until_its_deadline() -> None:
    """R20: another limit refused, so nothing happened."""
    reopened = claim_attempts(build_challenge(), 5).refund_attempt()

    assert ChallengeStatus.PENDING == reopened.compute_status(NOW)
    assert (1, reopened.deadline) == (reopened.attempts_left, reopened.ends_at)


def test_refunding_a_claim_reopens_no_decided_challenge() -> None:
    """R4: its end does not change."""
    for ended in (
        build_challenge().charge_attempt(NOW).mark_verified(NOW, None),
        build_challenge().charge_attempt(NOW).cancel(NOW),
    ):
        after = ended.refund_attempt()

        assert ended.compute_status(NOW) == after.compute_status(NOW)
        assert NOW == after.ends_at


def test_a_challenge_is_pending_until_its_deadline_and_not_at_it() -> None:
    """R3: `now >= deadline` is too late."""
    challenge = build_challenge()

    assert ChallengeStatus.PENDING == challenge.compute_status(challenge.deadline - 1)
    assert ChallengeStatus.EXPIRED == challenge.compute_status(challenge.deadline)
    with pytest.raises(ChallengeExpired):
        challenge.charge_attempt(challenge.deadline)


def test_a_resend_is_refused_in_the_last_minute() -> None:
    """The contract's states: a message would arrive too late to be typed."""
    challenge = build_challenge()

    challenge.check_resend(challenge.deadline - MINUTE)
    with pytest.raises(ChallengeExpired, match="Too little time"):
        challenge.check_resend(challenge.deadline - MINUTE + 1)


def test_a_code_that_is_being_sent_replaces_no_other() -> None:
    """R7: if no provider accepts it, the user has only the earlier ones."""
    secret = ChallengeSecret(
        "+447400123456",
        b"",
        (build_live_code(1), build_live_code(2), build_live_code(3, NOW + SEND_TIMEOUT)),
    )

    assert [1, 2, 3] == list_sends(secret.select_live_codes(NOW, 2))
    assert [2, 3] == list_sends(
        secret.confirm_send(3, may_have_been_sent=True, now=NOW, max_live_codes=2).codes
    )
    assert [1, 2] == list_sends(
        secret.confirm_send(3, may_have_been_sent=False, now=NOW, max_live_codes=2).codes
    )
    assert [2, 3] == list_sends(secret.select_live_codes(NOW + SEND_TIMEOUT, 2))


def test_confirming_a_send_without_a_code_changes_no_code() -> None:
    """A provider's reply may arrive after two later sends."""
    secret = ChallengeSecret("+447400123456", b"", (build_live_code(2), build_live_code(3)))

    assert secret == secret.confirm_send(1, may_have_been_sent=True, now=NOW, max_live_codes=2)


@pytest.mark.parametrize("max_live_codes", [1, 2])
def test_a_late_reply_does_not_make_an_old_code_the_newest(max_live_codes: int) -> None:
    """R7: the newest send's code remains, even if an earlier send is settled after it."""
    sending = tuple(build_live_code(send, NOW + SEND_TIMEOUT) for send in (1, 2, 3))
    secret = ChallengeSecret("+447400123456", b"", sending)

    for send in (3, 1, 2):
        secret = secret.confirm_send(
            send, may_have_been_sent=True, now=NOW, max_live_codes=max_live_codes
        )

    assert [1, 2, 3][-max_live_codes:] == sorted(list_sends(secret.codes))


@given(st.integers(0, 63), st.binary(min_size=16, max_size=16))
def test_an_id_contains_its_partition(partition: int, random: bytes) -> None:
    """R6: the id has the partition and 128 random bits."""
    challenge_id = build_challenge_id(partition, random)

    assert partition == parse_partition(challenge_id)
    assert CHALLENGE_ID.fullmatch(challenge_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c64-" + "0" * 32,
        "c99-" + "0" * 32,
        "c7-" + "0" * 32,
        "c007-" + "0" * 32,
        "c07-" + "0" * 31,
        "c07-" + "0" * 33,
        "c07-" + "A" * 32,
        "c07-" + "g" * 32,
        "C07-" + "0" * 32,
        "c07-" + "0" * 32 + "\n",
        " c07-" + "0" * 32,
        "c٠٧-" + "0" * 32,
        "c07-" + "０" * 32,
        "c07_" + "0" * 32,
        "{07}:challenge:shop:c07-" + "0" * 32,
        "c07-*",
    ],
)
def test_an_invalid_id_has_no_partition(text: str) -> None:
    """R80: so it never becomes part of a key."""
    assert parse_partition(text) is None


def test_changes_apply_to_the_value_they_are_called_on() -> None:
    """The same challenge can be claimed twice concurrently; the store accepts one of the two."""
    challenge = build_challenge()

    chain = [challenge, challenge.charge_attempt(NOW), challenge.charge_attempt(NOW)]

    assert [1, 2, 2] == [challenge.version for challenge in chain]
    assert all(left.deadline == right.deadline for left, right in pairwise(chain))
