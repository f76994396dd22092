"""One sample of every record that is stored in Redis or sent to its scripts.

In each sample that is encoded by position, every field has a value that no other field has, and is
given by its name. So the bytes change when two fields change places. With positional arguments the
values would move with the fields, and the bytes would stay the same.
"""

import msgspec
from msgspec.structs import replace

from otp_service.core.authenticator import Algorithm, Authenticator
from otp_service.core.challenge import (
    Challenge,
    ChallengeSecret,
    ChallengeStatus,
    LiveCode,
    VerifyReplayKey,
)
from otp_service.core.delivery import Fault, RefusalScope, Submission
from otp_service.core.do_not_send import DoNotSendEntry
from otp_service.core.known_addresses import KnownAddress, KnownAddresses
from otp_service.core.limits import Window
from otp_service.core.ports import IdempotencyRecord, InboxMessage, MessageIdRecord
from otp_service.core.pumping.commits import RepaidSend, SendDebt
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.core.recovery_codes import RecoverySet
from otp_service.core.recovery_marks import RecoveryMarks, UsedCode
from otp_service.service.answer_slot import KeyRecord
from otp_service.service.authenticator_check import AuthenticatorAnswer, LastStep
from otp_service.service.recovery_code_check import RecoveryAnswer
from otp_service.sms.provider_health import Breaker, Outcome, ProviderHealth, Quality
from otp_service.store.account_records import RecordContent
from otp_service.store.commit_request import (
    AbsentKey,
    BucketOperation,
    CommitRequest,
    ConsecutiveFailuresRule,
    DebtCharges,
    DebtOperation,
    DebtReversal,
    ExpectedVersion,
    FoldableEvent,
    KeyWrite,
    LogLimits,
    Repayment,
    Settlement,
    SignedEvent,
    TrafficChange,
)
from otp_service.store.failure_move import FailureMove
from tests.golden.fixed_inputs import NOW_MS, fixed_bytes


CHALLENGE_ID = "c07-5d41402abc4b2a76b9719d911017c592"

AUTHENTICATOR = Authenticator(
    id=fixed_bytes("authenticator id", 16),
    tenant="shop",
    account="u-81",
    secret=fixed_bytes("authenticator secret", 20),
    algorithm=Algorithm.SHA256,
    digits=8,
    period=60,
    created_at=NOW_MS,
    confirmed_step=29_925_210,
    confirmed_at=NOW_MS + 1000,
)
UNCONFIRMED_AUTHENTICATOR = replace(AUTHENTICATOR, confirmed_step=None, confirmed_at=None)

RECOVERY_SET = RecoverySet(
    id=fixed_bytes("recovery set id", 16),
    tenant="shop",
    account="u-81",
    created_at=NOW_MS,
    sealed_at=NOW_MS + 1000,
    salt=fixed_bytes("salt of a recovery set", 16),
    hash_key=fixed_bytes("hash key of a recovery set", 32),
    memory_kib=7168,
    passes=5,
    lanes=1,
    hashes=(fixed_bytes("hash of a recovery code", 32), None),
)

ACCEPTED_SUBMISSION = Submission(
    provider="twilio",
    outcome="accepted",
    fault=None,
    reason=None,
    at=NOW_MS + 10,
    milliseconds=120,
    message_id="SM1",
    send=1,
    ordinal=2,
    scope=None,
    receipt_status="delivered",
)
REFUSED_SUBMISSION = Submission(
    provider="vonage",
    outcome="refused",
    fault=Fault.RECIPIENT,
    reason="9",
    at=NOW_MS + 20,
    milliseconds=130,
    message_id=None,
    send=3,
    ordinal=4,
    scope=RefusalScope.MESSAGE,
    receipt_status=None,
)
UNKNOWN_SUBMISSION = Submission(
    provider="sinch",
    outcome="unknown",
    fault=Fault.UNKNOWN,
    reason="read-timeout",
    at=NOW_MS + 30,
    milliseconds=140,
    message_id=None,
    send=5,
    ordinal=6,
    scope=RefusalScope.SILENCE,
)

REPORTED_SUBMISSION = Submission(
    provider="sinch",
    outcome="refused",
    fault=Fault.UNKNOWN,
    reason="30008",
    at=NOW_MS + 40,
    milliseconds=150,
    message_id="SM2",
    send=7,
    ordinal=8,
    scope=RefusalScope.SILENCE,
    receipt_status="temporary-failure",
)

PENDING_CHALLENGE = Challenge(
    tenant="shop",
    id=CHALLENGE_ID,
    version=1,
    purpose="login",
    account=None,
    masked_number="+44********56",
    number_pseudonym="pseudonym-1:0011",
    country="GB",
    created_at=NOW_MS,
    deadline=NOW_MS + 300_000,
    ends_at=NOW_MS + 300_001,
    resend_at=NOW_MS + 30_000,
    attempts_left=5,
    sends_left=2,
)
VERIFIED_CHALLENGE = Challenge(
    tenant="bank",
    id=CHALLENGE_ID,
    version=12,
    purpose="payment",
    account="account-1",
    masked_number="+1********34",
    number_pseudonym="pseudonym-1:2233",
    country="US",
    created_at=NOW_MS,
    deadline=NOW_MS + 600_000,
    ends_at=NOW_MS + 40_000,
    resend_at=NOW_MS + 60_000,
    attempts_left=4,
    sends_left=3,
    sends=2,
    stored_status=ChallengeStatus.VERIFIED,
    verified_at=NOW_MS + 50_000,
    replay_key=VerifyReplayKey(
        key_mac=fixed_bytes("answer key", 32), code_mac=fixed_bytes("answer code", 32)
    ),
    submissions=(ACCEPTED_SUBMISSION, REFUSED_SUBMISSION, UNKNOWN_SUBMISSION),
    auto_resent=True,
    verify_service=f"VA{'1f' * 16}",
)
LIVE_CODE = LiveCode(
    code_hash=fixed_bytes("hash 1", 32), pepper_id="pepper-1", send=1, confirmed_at=NOW_MS + 13_000
)
KNOWN_ADDRESS = KnownAddress(tag=fixed_bytes("tag 1", 8), verified_at=NOW_MS - 2)
KNOWN_ADDRESSES = KnownAddresses(
    addresses=(KNOWN_ADDRESS, KnownAddress(tag=fixed_bytes("tag 2", 8), verified_at=NOW_MS - 3))
)
SEND_DEBT = SendDebt(
    charged_at=NOW_MS + 1,
    price=40_000,
    limit_key_id="limit-2",
    is_new_country=True,
    is_halved=False,
)
SECRET = ChallengeSecret(
    number="+447400123456",
    salt=fixed_bytes("salt", 16),
    codes=(
        LIVE_CODE,
        LiveCode(code_hash=fixed_bytes("hash 2", 32), pepper_id="pepper-2", send=2, confirmed_at=0),
    ),
    client_ip="203.0.113.9",
    locale="en-GB",
    known_addresses=KNOWN_ADDRESSES,
    debts=(
        SEND_DEBT,
        SendDebt(charged_at=NOW_MS + 30_000, price=20_000, limit_key_id="limit-1", is_halved=True),
    ),
)
PROVIDER_HEALTH = ProviderHealth(
    breakers={
        "twilio GB": Breaker(
            outcomes=(
                Outcome(at=NOW_MS, ok=False, number_pseudonym="0a0b", reason="30003"),
                Outcome(at=NOW_MS + 1, ok=True),
            ),
            open_until=NOW_MS + 30_000,
            openings=2,
        ),
        "vonage US": Breaker(),
    },
    backoffs={"sinch": NOW_MS + 5_000},
    qualities={"twilio": Quality(value=0.95, at=NOW_MS + 2)},
    scored_numbers={"0c0d": NOW_MS + 3},
)
BUCKET_OPERATION = BucketOperation(
    algorithm="sliding-window",
    key_index=7,
    windows=(Window(count=5, period_seconds=600), Window(count=10, period_seconds=86_400)),
    cost=2,
    operation_key_index=1,
    limit="SendsPerNumber",
    force=True,
    subject_index=4,
    initial_count=3,
    skip_delay=False,
)
FAILURE_MOVE = FailureMove(id="move-1", source="{07}:limit:source", failures=60)
ABSENT_KEY = AbsentKey(key_index=9, reason="opted_out")
EXPECTED_VERSION = ExpectedVersion(key_index=7, version="00000001")
KEY_WRITE = KeyWrite(key_index=7, value_index=2, expires_at=NOW_MS + 1)
SIGNED_EVENT = SignedEvent(body='{"type":"otp.issued"}', mac="state-1:aa")
FOLDABLE_EVENT = FoldableEvent(
    body='{"type":"otp.issue_denied"}',
    mac="state-1:bb",
    fold_name="fold 1",
    client_ip="203.0.113.9",
)
LOG_LIMITS = LogLimits(retention_ms=604_800_000, max_stream_entries=5_000, has_archive=True)
CONSECUTIVE_FAILURES_RULE = ConsecutiveFailuresRule(
    failures_before_delay=10, min_delay_ms=30_000, max_delay_ms=3_600_000, ttl_ms=7_776_000_000
)
DEBT_OPERATION = DebtOperation(
    key_index=14,
    price=40_000,
    floors=(640_000, 1_280_000),
    unverified_share=0.5,
    margin=0.25,
    usual_verified=(1_000, 2_000),
    deviations=4.0,
    limit="UnverifiedPerRange",
    refuses=True,
    is_always_charged=False,
    open_until=NOW_MS + 1,
    closed_until=NOW_MS + 2,
    recorded_from=NOW_MS + 5,
    country="GB",
)
TRAFFIC_CHANGE = TrafficChange(
    key_index=15, index_key_index=16, member="shop GB", kind="u", amount=40_000
)
EXEMPT_TIME = ExemptTime(starts_at=NOW_MS + 3, ends_at=NOW_MS + 4)
DEBT_CHARGES = DebtCharges(
    operations=[DEBT_OPERATION],
    known_key=17,
    is_assumed_known=True,
    earlier_cause=2,
    traffic=TRAFFIC_CHANGE,
    exempt_time=EXEMPT_TIME,
)
DEBT_REVERSAL = DebtReversal(operation_key_index=18, charges=DEBT_CHARGES)
REPAID_SEND = RepaidSend(charged_at=NOW_MS + 1, charge=500_000)
REPAYMENT = Repayment(key_index=19, sends=(REPAID_SEND,), country="GB")
SETTLEMENT = Settlement(
    repayments=[REPAYMENT],
    known_key=20,
    raises_allowance=True,
    pays_exempt_sends=False,
    traffic=TRAFFIC_CHANGE,
    traffic_sends=(REPAID_SEND,),
)
REQUEST = CommitRequest(
    key_count=14,
    argument_count=2,
    clock_shift_ms=1,
    expected_versions=[EXPECTED_VERSION],
    deadline=NOW_MS,
    returned_keys=[7, 8],
    writes=[KEY_WRITE, KeyWrite(8)],
    absent_keys=[ABSENT_KEY],
    charges=[BUCKET_OPERATION],
    refunds=[msgspec.structs.replace(BUCKET_OPERATION, cost=4)],
    reset_buckets=[10],
    events=[SIGNED_EVENT],
    event_if_refused=FOLDABLE_EVENT,
    foldable_event=FoldableEvent(
        '{"type":"otp.verify_denied"}', "state-1:cc", "fold 2", "203.0.113.10"
    ),
    max_flushed_folds=1000,
    epoch_event=SignedEvent('{"type":"log.epoch"}', "state-1:dd"),
    log_limits=LOG_LIMITS,
    consecutive_failures_rule=CONSECUTIVE_FAILURES_RULE,
    requires_log_capacity=True,
    read_keys=[11, 12],
    all_or_none=True,
    addresses_key=13,
    debts=DEBT_CHARGES,
    debt_refunds=[DEBT_REVERSAL],
    settlement=SETTLEMENT,
    limit_key_id="limit-1",
)

DO_NOT_SEND_ENTRY = DoNotSendEntry(
    number="+447400123456", at=NOW_MS, provider="twilio", own_number="+447400999999"
)

USED_CODE = UsedCode(position=3, code_hash=fixed_bytes("code", 32))

SAMPLES: dict[str, msgspec.Struct] = {
    "challenge, pending, with the defaults": PENDING_CHALLENGE,
    "challenge, verified, with submissions": VERIFIED_CHALLENGE,
    "answer of a verified challenge": VerifyReplayKey(
        key_mac=fixed_bytes("answer key", 32), code_mac=fixed_bytes("answer code", 32)
    ),
    "secret of a challenge": SECRET,
    "secret of a challenge, with the defaults": ChallengeSecret(
        number="+14155550123", salt=b"salt", codes=()
    ),
    "debt of a send": SEND_DEBT,
    "repayment of a send": REPAID_SEND,
    "known address": KNOWN_ADDRESS,
    "known addresses of an account": KNOWN_ADDRESSES,
    "do-not-send entry": DO_NOT_SEND_ENTRY,
    "do-not-send entry, with the defaults": DoNotSendEntry("+447400123456", NOW_MS),
    "live code": LIVE_CODE,
    "submission, accepted and delivered": ACCEPTED_SUBMISSION,
    "submission, refused": REFUSED_SUBMISSION,
    "submission, with every field": REPORTED_SUBMISSION,
    "submission, in doubt": UNKNOWN_SUBMISSION,
    "idempotency record, running": IdempotencyRecord(
        version=1,
        fingerprint=fixed_bytes("print", 32),
        challenge_id=CHALLENGE_ID,
        lease_until=NOW_MS,
    ),
    "idempotency record, finished": IdempotencyRecord(
        version=2,
        fingerprint=fixed_bytes("print", 32),
        challenge_id=CHALLENGE_ID,
        lease_until=NOW_MS,
        finished=True,
    ),
    "inbox message": InboxMessage(
        to="+447700900123", text="Your code is 123456.", provider="inbox", tenant="shop", at=NOW_MS
    ),
    "message-id record": MessageIdRecord(
        reference=f"shop.{CHALLENGE_ID}.1.2", number_suffix="3456"
    ),
    "body of an authenticator's token": AUTHENTICATOR,
    "body of an authenticator's token, unconfirmed": UNCONFIRMED_AUTHENTICATOR,
    "key of a call about an authenticator, with its answer": KeyRecord(
        fingerprint=fixed_bytes("print", 32), answer=b"answer"
    ),
    "key of a call about an authenticator that still runs": KeyRecord(
        fingerprint=fixed_bytes("print", 32), answer=None
    ),
    "answer of an authenticator": AuthenticatorAnswer(token="a1.token", at=NOW_MS),
    "last step of an authenticator": LastStep(step=59_844_960),
    "answer of a recovery set": RecoveryAnswer(token="r1.token", codes_left=7, at=NOW_MS),
    "used codes of a recovery set": RecoveryMarks((USED_CODE,)),
    "used code of a recovery set": USED_CODE,
    "content of a record about an account": RecordContent(expires_at=NOW_MS, body=b"state"),
    "body of a recovery set's token": RECOVERY_SET,
    "provider memory": PROVIDER_HEALTH,
    "provider memory, empty": ProviderHealth(),
    "window of a limit": Window(count=5, period_seconds=600),
    "request to the commit script: a charge": BUCKET_OPERATION,
    "request to the commit script: an expected version": EXPECTED_VERSION,
    "request to the commit script: a key that must be missing": ABSENT_KEY,
    "consecutive failures that are being moved": FAILURE_MOVE,
    "request to the commit script: a write": KEY_WRITE,
    "request to the commit script: an event": SIGNED_EVENT,
    "request to the commit script: a foldable event": FOLDABLE_EVENT,
    "request to the commit script: the limits of the log": LOG_LIMITS,
    "request to the commit script: the rule of consecutive failures": CONSECUTIVE_FAILURES_RULE,
    "request to the commit script: a debt": DEBT_OPERATION,
    "request to the commit script: hourly totals": TRAFFIC_CHANGE,
    "request to the commit script: the debts of a send": DEBT_CHARGES,
    "request to the commit script: when a number is exempt": EXEMPT_TIME,
    "request to the commit script: a refund of debts": DEBT_REVERSAL,
    "request to the commit script: a repayment": REPAYMENT,
    "request to the commit script: a settlement": SETTLEMENT,
    "request to the commit script": REQUEST,
    "request to the commit script, with the defaults": CommitRequest(
        key_count=6,
        argument_count=1,
        clock_shift_ms=0,
        log_limits=LogLimits(1, 2, has_archive=False),
    ),
    "request to the commit script, one of several": CommitRequest(
        key_count=6,
        argument_count=1,
        clock_shift_ms=0,
        log_limits=LogLimits(1, 2, has_archive=False),
        all_or_none=True,
    ),
}
