"""Every name and MAC that another process must derive equally, such as key names and tokens."""

import inspect
from typing import Any, get_args

import msgspec

from otp_service.core.argon2_profile import TEST_PROFILE
from otp_service.core.challenge import build_challenge_id
from otp_service.core.codes import hash_code
from otp_service.core.commit import RecordName
from otp_service.core.delivery import SubmissionReference
from otp_service.core.do_not_send import Recipient
from otp_service.core.known_addresses import Account, derive_address_tags
from otp_service.core.limits import NUMBER_LIMITS, Bucket, Limit
from otp_service.core.pumping.commits import KnownNumberName, TrafficName
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.tenant import hash_api_key
from otp_service.hashing import compute_argon2id
from otp_service.sms.provider_callbacks import CallbackUrls, strip_reference
from otp_service.store.key_names import KeyNames, SharedRecordName
from otp_service.store.record_cipher import RecordCipher
from tests.golden.fixed_inputs import NOW_MS, fixed_bytes, fixed_keys
from tests.golden.samples import AUTHENTICATOR, CHALLENGE_ID


NUMBER = "+447400123456"


class CallRecorder:
    """Forwards calls to an object, and records which methods were called."""

    def __init__(self, target: object) -> None:
        self._target = target
        self.called_methods: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called_methods.add(name)
        return getattr(self._target, name)

    def find_uncalled(self) -> set[str]:
        """Return the public methods that were not called."""
        methods = inspect.getmembers(type(self._target), inspect.isfunction)
        return {name for name, _ in methods if not name.startswith("_")} - self.called_methods


def list_key_names(names: Any) -> list[tuple[str, object]]:
    """Return every kind of key name of `names`, each with a label."""
    subject = {limit: NUMBER if limit in NUMBER_LIMITS else f"{limit} subject" for limit in Limit}
    labelled_values: list[tuple[str, object]] = [
        ("partition of a number", names.compute_number_partition(NUMBER)),
        ("partition of one word", names.compute_partition("one")),
        ("partition of two words", names.compute_partition("one", "two")),
        ("challenge", names.challenge_record_key(7, "shop", CHALLENGE_ID)),
        ("secret of a challenge", names.secret_record_key(7, "shop", CHALLENGE_ID)),
        ("both of a challenge", names.challenge_keys(7, "shop", CHALLENGE_ID)),
        ("pointer to a verification", names.pointer_key(7, "shop", f"VA{'1f' * 16}", NUMBER)),
        ("block", names.block_key(7, NUMBER)),
        ("opt-out of a tenant", names.opt_out_key(7, "shop", NUMBER)),
        ("opt-out of all tenants", names.opt_out_key(7, "", NUMBER)),
        (
            "entries that refuse a send",
            tuple(key for key, _ in names.list_refusing_keys(7, Recipient(NUMBER, "shop"))),
        ),
        ("mark of a submission", names.submission_mark_key(7, "twilio", NUMBER)),
        ("processed messages", names.processed_messages_key(7, "twilio", NUMBER)),
        ("id of a message", names.digest_message_id("twilio", "SM1", NUMBER)),
        ("partition of an account", names.compute_account_partition("shop", "account-1")),
        *(
            (
                f"record of an account: {kind}",
                names.account_record_key(7, RecordName(kind, "shop", "id")),
            )
            for kind in ("authenticator", "recovery", "answer")
        ),
        ("known addresses", names.known_addresses_key(7, Account("shop", "account-1"))),
        ("idempotency record", names.locate_idempotency_record("shop", "key 1")),
        ("message id of a provider", names.message_id_key("smsc", "id-1")),
        *(
            (f"shared record: {name}", names.locate_shared_record(name))
            for name in get_args(SharedRecordName)
        ),
        ("partition that all share", names.compute_shared_partition()),
        ("known number", names.known_number_key(7, KnownNumberName("shop", NUMBER))),
        ("traffic", names.traffic_key(7, TrafficName("shop", "GB"))),
        ("index of the traffic", names.traffic_index_key(7)),
        ("lease of the sealer", names.sealer_key()),
        ("mode of the service", names.mode_key()),
        ("inbox of tests", names.inbox_key()),
        ("operation", names.operation_key(63, "0f" * 16)),
        ("log of partition 0", names.event_log_keys(0)),
        ("log of partition 63", names.event_log_keys(63)),
    ]
    for limit in Limit:
        for tenant in ("", "shop"):
            bucket = Bucket(limit=limit, tenant=tenant, subject=subject[limit])
            labelled_values.append(
                (
                    f"partition of bucket {limit} of '{tenant}'",
                    names.compute_bucket_partition(bucket),
                )
            )
            labelled_values.append((f"bucket {limit} of '{tenant}'", names.bucket_key(5, bucket)))
    for debt_limit in DebtLimit:
        scope = ScopeBucket(limit=debt_limit, tenant="shop", subject=f"{debt_limit} subject")
        labelled_values.append((f"debt {debt_limit}", names.debt_key(5, scope)))
    return labelled_values


def list_macs() -> list[tuple[str, object]]:
    """Return ids, pseudonyms, hashes, tokens and encrypted records, each with a label."""
    keys, reference = (
        fixed_keys(),
        SubmissionReference(tenant="shop", challenge_id=CHALLENGE_ID, send=1, ordinal=2),
    )
    account = Account("shop", "account-1")
    callback_urls = CallbackUrls("https://otp.example.com/", keys.state)
    callback_url = callback_urls.build_url("twilio", str(reference))
    cipher = RecordCipher(keys, lambda count: fixed_bytes("nonce", count))
    slow = compute_argon2id(TEST_PROFILE, "012345", fixed_bytes("salt", 16))
    code_hash = hash_code(
        keys.pepper.current,
        slow,
        tenant="shop",
        challenge=CHALLENGE_ID,
        purpose="login",
        number=NUMBER,
        deadline=NOW_MS,
    )
    name = "{07}:challenge:shop:" + CHALLENGE_ID
    return [
        ("challenge id", build_challenge_id(7, fixed_bytes("id", 16))),
        ("reference of a submission", str(reference)),
        ("pseudonym of a number", keys.pseudonym.current.derive_pseudonym("number", NUMBER)),
        (
            "pseudonym of an account",
            keys.pseudonym.current.derive_pseudonym("account", "account-1"),
        ),
        (
            "tag of an address with its account",
            derive_address_tags(keys.limit.current, account, "203.0.113.9", NUMBER).account,
        ),
        (
            "tag of an address with its account and number",
            derive_address_tags(keys.limit.current, account, "203.0.113.9", NUMBER).number,
        ),
        ("state id of an authenticator", AUTHENTICATOR.state_id),
        ("digest of an API key", hash_api_key("api-key-1")),
        ("argon2id of a code", slow),
        ("hash of a code", code_hash),
        ("callback address with its token", callback_url),
        ("callback address without the reference", strip_reference(callback_url)),
        ("MAC of an event", cipher.sign_event(b'{"type":"otp.issued"}')),
        ("version of a record", cipher.format_version(42)),
        (
            "sealed do-not-send entry",
            cipher.seal_record("{07}:blocked:name", 1, msgspec.msgpack.encode(["entry"])),
        ),
        ("sealed record", cipher.seal_record(name, 42, msgspec.msgpack.encode(["body"]))),
    ]


def format_labelled(labelled_values: list[tuple[str, object]]) -> str:
    """Return labels and values, one pair a line; bytes are in hex."""
    lines = []
    for label, value in labelled_values:
        if isinstance(value, bytes):
            text = value.hex()
        else:
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        lines.append(f"{label}: {text}\n")
    return "".join(lines)


def build_fixed_key_names() -> CallRecorder:
    """Return the key names of an installation with the fixed keys."""
    return CallRecorder(KeyNames(fixed_keys().limit.current))
