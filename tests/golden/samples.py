"""One sample of every record that is stored in Redis or sent to its scripts.

In each sample that is encoded by position, every field has a value that no other field has, and is
given by its name. So the bytes change when two fields change places; with positional arguments the
values would move with the fields, and the bytes would stay the same.
"""

import msgspec

from otp_service.core.challenge import Answer, Challenge, ChallengeSecret, LiveCode, Status
from otp_service.core.delivery import About, Fault, Submission
from otp_service.core.limits import Window
from otp_service.core.ports import Replayed, Submitted
from otp_service.sms.provider_health import Breaker, Memory, Quality, Seen
from otp_service.store.commit_request import Request, Spend
from tests.golden.fixed_inputs import NOW_MS, fixed_bytes


CHALLENGE_ID = "c07-5d41402abc4b2a76b9719d911017c592"

ACCEPTED = Submission(
    provider="twilio",
    outcome="accepted",
    fault=None,
    reason=None,
    at=NOW_MS + 10,
    milliseconds=120,
    message_id="SM1",
    send=1,
    place=2,
    about=None,
    received="delivered",
)
REFUSED = Submission(
    provider="vonage",
    outcome="refused",
    fault=Fault.RECIPIENT,
    reason="9",
    at=NOW_MS + 20,
    milliseconds=130,
    message_id=None,
    send=3,
    place=4,
    about=About.MESSAGE,
    received=None,
)
SUBMITTED_IN_DOUBT = Submission(
    provider="sinch",
    outcome="unknown",
    fault=Fault.UNKNOWN,
    reason="read-timeout",
    at=NOW_MS + 30,
    milliseconds=140,
    message_id=None,
    send=5,
    place=6,
    about=About.SILENCE,
)

PENDING = Challenge(
    tenant="shop",
    id=CHALLENGE_ID,
    version=1,
    purpose="login",
    account=None,
    masked="+44********56",
    subject="pseudonym-1:0011",
    country="GB",
    created_at=NOW_MS,
    deadline=NOW_MS + 300_000,
    ends_at=NOW_MS + 300_001,
    resend_at=NOW_MS + 30_000,
    attempts_left=5,
    sends_left=2,
)
VERIFIED = Challenge(
    tenant="bank",
    id=CHALLENGE_ID,
    version=12,
    purpose="payment",
    account="account-1",
    masked="+1********34",
    subject="pseudonym-1:2233",
    country="US",
    created_at=NOW_MS,
    deadline=NOW_MS + 600_000,
    ends_at=NOW_MS + 40_000,
    resend_at=NOW_MS + 60_000,
    attempts_left=4,
    sends_left=3,
    sends=2,
    state=Status.VERIFIED,
    verified_at=NOW_MS + 50_000,
    answer=Answer(key=fixed_bytes("answer key", 32), code=fixed_bytes("answer code", 32)),
    submissions=(ACCEPTED, REFUSED, SUBMITTED_IN_DOUBT),
    rescued=True,
)
LIVE_CODE = LiveCode(
    hash=fixed_bytes("hash 1", 32), pepper="pepper-1", send=1, settles_at=NOW_MS + 13_000
)
SECRET = ChallengeSecret(
    number="+447400123456",
    salt=fixed_bytes("salt", 16),
    codes=(
        LIVE_CODE,
        LiveCode(hash=fixed_bytes("hash 2", 32), pepper="pepper-2", send=2, settles_at=0),
    ),
    client_ip="203.0.113.9",
    locale="en-GB",
)
MEMORY = Memory(
    breakers={
        "twilio GB": Breaker(
            last=(
                Seen(at=NOW_MS, ok=False, number="0a0b", reason="30003"),
                Seen(at=NOW_MS + 1, ok=True),
            ),
            until=NOW_MS + 30_000,
            openings=2,
        ),
        "vonage US": Breaker(),
    },
    rests={"sinch": NOW_MS + 5_000},
    qualities={"twilio": Quality(value=0.95, at=NOW_MS + 2)},
    numbers={"0c0d": NOW_MS + 3},
)
SPEND = Spend(
    kind="exact",
    place=7,
    windows=(Window(count=5, period=600), Window(count=10, period=86_400)),
    cost=2,
    operation="0f" * 16,
    force=True,
    name="SendsPerNumber",
    label="+44********56",
    base=3,
)
REQUEST = Request(
    shift=1,
    expected=[(7, "00000001")],
    before=NOW_MS,
    returned=[7, 8],
    writes=[(7, 2, NOW_MS + 1), (8, 0, 0)],
    guards=[9],
    charges=[SPEND],
    give_backs=[msgspec.structs.replace(SPEND, cost=4)],
    clear=[10],
    events=[('{"type":"otp.issued"}', "state-1:aa")],
    refusal=('{"type":"otp.issue_denied"}', "state-1:bb", "fold 1", "203.0.113.9"),
    denial=('{"type":"otp.verify_denied"}', "state-1:cc", "fold 2", "203.0.113.10"),
    sweep=1000,
    epoch_event=('{"type":"log.epoch"}', "state-1:dd"),
    log_limits=(604_800_000, 5_000, True),
    row=(10, 30_000, 3_600_000, 7_776_000_000),
    grants=True,
)

SAMPLES: dict[str, msgspec.Struct] = {
    "challenge, pending, with the defaults": PENDING,
    "challenge, verified, with submissions": VERIFIED,
    "answer of a verified challenge": Answer(
        key=fixed_bytes("answer key", 32), code=fixed_bytes("answer code", 32)
    ),
    "secret of a challenge": SECRET,
    "secret of a challenge, with the defaults": ChallengeSecret(
        number="+14155550123", salt=b"salt", codes=()
    ),
    "live code": LIVE_CODE,
    "submission, accepted and delivered": ACCEPTED,
    "submission, refused": REFUSED,
    "submission, in doubt": SUBMITTED_IN_DOUBT,
    "idempotency record, running": Replayed(
        version=1, fingerprint=fixed_bytes("print", 32), challenge=CHALLENGE_ID, lease=NOW_MS
    ),
    "idempotency record, finished": Replayed(
        version=2,
        fingerprint=fixed_bytes("print", 32),
        challenge=CHALLENGE_ID,
        lease=NOW_MS,
        finished=True,
    ),
    "message-id record": Submitted(reference=f"shop.{CHALLENGE_ID}.1.2", ending="3456"),
    "provider memory": MEMORY,
    "provider memory, empty": Memory(),
    "window of a limit": Window(count=5, period=600),
    "request to the commit script: a charge": SPEND,
    "request to the commit script": REQUEST,
    "request to the commit script, with the defaults": Request(
        shift=0, epoch_event=("{}", "state-1:ee"), log_limits=(1, 2, False)
    ),
}
