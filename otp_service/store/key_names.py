"""Every key name, written and parsed here and nowhere else; README.md lists the keys.

A name holds no text that a caller chose: tenants are validated names from the settings, challenge
ids match a pattern, unpredictable ids of tokens enter as a hash, and everything else as an HMAC under the
`limit` key. `{NN}` is the hash tag of the partition, so that Redis Cluster keeps the keys of a
partition together.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from typing import Literal

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.commit import RecordName
from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendReason, Recipient
from otp_service.core.keys import Key, join_length_prefixed
from otp_service.core.known_addresses import Account
from otp_service.core.limits import ACCOUNT_RECORD_LIMITS, Bucket, Limit
from otp_service.core.phone_number import derive_prefix
from otp_service.core.pumping.commits import KnownNumberName, TrafficName
from otp_service.core.pumping.scopes import ScopeBucket


SharedRecordName = Literal["providers", "brake", "brake-overrides"]


class KeyNames:
    def __init__(self, limit_key: Key) -> None:
        self._limit_key = limit_key
        self._last_subject_digest = ("", "")
        self._last_listed_number = ("", "")
        self._tenant_partitions: dict[str, int] = {}

    @property
    def limit_key_id(self) -> str:
        """The id of the key that names what these names are of."""
        return self._limit_key.id

    def compute_partition(self, *subject: str) -> int:
        """Return the partition of a subject, from 0 to 63."""
        return int.from_bytes(self._compute_mac("partition", *subject)[:8], "big") % PARTITION_COUNT

    def compute_number_partition(self, number: str) -> int:
        """Return the partition of everything about a canonical number: that of its prefix.

        So a send to the number is charged to the bucket of its prefix in the same commit.
        """
        return self.compute_partition("prefix", derive_prefix(number))

    def compute_bucket_partition(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not in the partition of a number.

        All buckets of one tenant are in one partition, so that one commit can charge them, and so are
        those of countries and of the whole service. Those of ACCOUNT_RECORD_LIMITS are with the records
        of their account.
        """
        if bucket.limit in ACCOUNT_RECORD_LIMITS:
            return self.compute_account_partition(bucket.tenant, bucket.subject)
        partition = self._tenant_partitions.get(bucket.tenant)
        if partition is None:
            subject = ("tenant", bucket.tenant) if bucket.tenant else ("shared",)
            partition = self._tenant_partitions[bucket.tenant] = self.compute_partition(*subject)
        return partition

    @staticmethod
    def compute_account_partition(tenant: str, account: str) -> int:
        """Return the partition of the records of an account, which no key names.

        Two processes on either side of a rotation of the limit key must compare the time step of a
        code with one record, in one commit. The partition shows 6 bits of the account.
        """
        digest = _hash_fields("account", tenant, account)
        return int.from_bytes(digest[:8], "big") % PARTITION_COUNT

    def account_record_key(self, partition: int, name: RecordName) -> str:
        """The state of an authenticator or recovery set, or the answer to an Idempotency-Key.

        The id of a state is random, or an HMAC under the secret of an authenticator: so its hash needs
        no key, and its name outlives every key.
        """
        if name.kind == "answer":
            digest = self._digest("answer", name.tenant, name.id)
        else:
            digest = _hash_fields(name.kind, name.tenant, name.id)[:16].hex()
        return f"{_tag(partition)}:{name.kind}:{name.tenant}:{digest}"

    def challenge_record_key(self, partition: int, tenant: str, challenge_id: str) -> str:
        return f"{_tag(partition)}:challenge:{tenant}:{challenge_id}"

    def secret_record_key(self, partition: int, tenant: str, challenge_id: str) -> str:
        """The part of a challenge that must not outlive its deadline."""
        return f"{_tag(partition)}:secret:{tenant}:{challenge_id}"

    def challenge_keys(self, partition: int, tenant: str, challenge_id: str) -> tuple[str, str]:
        """Return the keys of the two records of a challenge: itself, and its secret."""
        return (
            self.challenge_record_key(partition, tenant, challenge_id),
            self.secret_record_key(partition, tenant, challenge_id),
        )

    def bucket_key(self, partition: int, bucket: Bucket) -> str:
        # A commit names half a dozen buckets of one number, one after the other.
        subject, digest = self._last_subject_digest
        if subject != bucket.subject or not digest:
            digest = self._digest("bucket", bucket.subject)
            self._last_subject_digest = (bucket.subject, digest)
        return f"{_tag(partition)}:limit:{bucket.limit}:{bucket.tenant}:{digest}"

    def compute_shared_partition(self) -> int:
        """Return the partition of the buckets of countries and of the whole service.

        All debts of the brake on SMS pumping but those of ranges are there, with the traffic.
        """
        return self.compute_bucket_partition(Bucket(Limit.SENDS_OVERALL))

    def debt_key(self, partition: int, bucket: ScopeBucket) -> str:
        """Return the key of a bucket of the brake on SMS pumping."""
        digest = self._digest("debt", bucket.subject)
        return f"{_tag(partition)}:debt:{bucket.limit}:{bucket.tenant}:{digest}"

    def known_number_key(self, partition: int, name: KnownNumberName) -> str:
        """Return the key of the record that a number has verified at a tenant."""
        return f"{_tag(partition)}:known:{name.tenant}:{self._digest('known', name.number)}"

    def traffic_key(self, partition: int, traffic: TrafficName) -> str:
        """Return the key of the hourly totals of a country of a tenant."""
        return f"{_tag(partition)}:traffic:{traffic.tenant}:{traffic.country}"

    def traffic_index_key(self, partition: int) -> str:
        """Return the key of the set of all traffic: members are tenant, a space, and country."""
        return f"{_tag(partition)}:traffic-index"

    def known_addresses_key(self, partition: int, account: Account) -> str:
        """Return the key of the addresses that have verified an account, in its buckets' partition."""
        digest = self._digest("addresses", account.name)
        return f"{_tag(partition)}:addresses:{account.tenant}:{digest}"

    def pointer_key(self, partition: int, tenant: str, service: str, number: str) -> str:
        """Return the key of the newest verification of a canonical number at one Verify Service."""
        return f"{_tag(partition)}:pointer:{tenant}:{self._digest('pointer', service, number)}"

    def block_key(self, partition: int, number: str) -> str:
        """Return the key of an operator's block of a canonical number."""
        return f"{_tag(partition)}:blocked:{self._digest_listed_number(number)}"

    def opt_out_key(self, partition: int, tenant: str, number: str) -> str:
        """Return the key of a person's opt-out; the tenant is empty for all."""
        return f"{_tag(partition)}:opted-out:{tenant}:{self._digest_listed_number(number)}"

    def list_refusing_keys(
        self, partition: int, recipient: Recipient
    ) -> list[tuple[str, DoNotSendReason]]:
        """Return the keys of the entries that refuse a send, each with its reason, the block first."""
        number = recipient.number
        opt_outs = (
            self.opt_out_key(partition, tenant, number)
            for tenant in (ALL_TENANTS, recipient.tenant)
        )
        return [
            (self.block_key(partition, number), DoNotSendReason.BLOCKED),
            *((key, DoNotSendReason.OPTED_OUT) for key in opt_outs),
        ]

    def submission_mark_key(self, partition: int, provider: str, number: str) -> str:
        """Return the key of the mark that a provider submitted something to a canonical number."""
        return f"{_tag(partition)}:submitted:{provider}:{self._digest_listed_number(number)}"

    def processed_messages_key(self, partition: int, provider: str, number: str) -> str:
        """Return the key of the messages from a canonical number that have made a change."""
        return f"{_tag(partition)}:inbound:{provider}:{self._digest('inbound', provider, number)}"

    def digest_message_id(self, provider: str, message_id: str, number: str) -> str:
        """Return what is stored of the id of such a message: 16 characters of ASCII."""
        return self._digest("message", provider, message_id, number)

    def locate_idempotency_record(self, tenant: str, idempotency_key: str) -> tuple[int, str]:
        partition = self.compute_partition("idempotency", tenant, idempotency_key)
        digest = self._digest("idempotency", tenant, idempotency_key)
        return partition, f"{_tag(partition)}:idempotency:{tenant}:{digest}"

    def message_id_key(self, provider: str, message_id: str) -> str:
        """Submission behind a provider's id of a message, in a partition of its own."""
        tag = _tag(self.compute_partition("submission", provider, message_id))
        return f"{tag}:submission:{self._digest('submission', provider, message_id)}"

    def locate_shared_record(self, name: SharedRecordName) -> tuple[int, str]:
        """Return the partition and the key of a record that all processes share.

        Its partition is constant: it stays the same when the limit key is rotated.
        """
        return 0, f"{_tag(0)}:{name}"

    def sealer_key(self) -> str:
        return f"{_tag(0)}:sealer"

    @staticmethod
    def mode_key() -> str:
        """The mode of the service that this Redis belongs to."""
        return f"{_tag(0)}:mode"

    @staticmethod
    def inbox_key() -> str:
        """The messages of a service for tests."""
        return f"{_tag(0)}:inbox"

    def operation_key(self, partition: int, operation: str) -> str:
        """Reply of a commit, for a caller that lost it."""
        return f"{_tag(partition)}:operation:{operation}"

    def event_log_keys(self, partition: int) -> tuple[str, ...]:
        """State of the event log, its events, its refusals, open folds, and when they are due."""
        tag = _tag(partition)
        return tuple(f"{tag}:{kind}" for kind in ("log", "events", "refusals", "folds", "due"))

    def _digest_listed_number(self, number: str) -> str:
        # A commit names four keys of one number, one after the other.
        listed, digest = self._last_listed_number
        if listed != number or not digest:
            digest = self._digest("do-not-send", number)
            self._last_listed_number = (number, digest)
        return digest

    def _compute_mac(self, label: str, *fields: str) -> bytes:
        return self._limit_key.compute_mac(label, *[field.encode() for field in fields])

    def _digest(self, label: str, *fields: str) -> str:
        """Return the name of a subject: 96 bits, in 16 characters, since every key has one."""
        return urlsafe_b64encode(self._compute_mac(label, *fields)[:12]).decode()


def _hash_fields(*fields: str) -> bytes:
    return hashlib.sha256(join_length_prefixed(*[field.encode() for field in fields])).digest()


def _tag(partition: int) -> str:
    return f"{{{partition:02d}}}"


def parse_key_partition(key: str) -> int:
    return int(key[1:3])


def parse_kind(key: str) -> str:
    """Return the word after the tag, which says what the key stores."""
    return key.partition(":")[2].partition(":")[0]


def parse_bucket_tenant(bucket_key: str) -> str:
    """Return the tenant of a bucket; empty for a bucket of all tenants."""
    return bucket_key.split(":")[3]


def parse_opt_out_tenant(opt_out_key: str) -> str:
    """Return the tenant of an opt-out; empty for all tenants."""
    return opt_out_key.split(":")[2]


def parse_bucket(bucket_key: str) -> tuple[Limit, str]:
    """Return the limit and the tenant of a bucket."""
    _, _, limit, tenant, _ = bucket_key.split(":")
    return Limit(limit), tenant


def parse_challenge_tenant(challenge_record_key: str) -> str:
    return challenge_record_key.split(":")[2]


def derive_secret_key(challenge_record_key: str) -> str:
    """Return the key of the secret of a challenge, from the key of its record."""
    return challenge_record_key.replace(":challenge:", ":secret:", 1)


def build_key_pattern(key: str) -> str:
    """Return a SCAN pattern for keys of this kind, of all partitions and subjects."""
    return ":".join(("{*}", *key.split(":")[1:-1], "*"))


def build_failures_pattern() -> str:
    """Return a SCAN pattern for the buckets of all limits on failures in a row."""
    return "{*}:limit:Consecutive*"


def is_failures_key(text: str) -> bool:
    """Whether a text is the key of a bucket that `build_failures_pattern` matches."""
    return re.fullmatch(r"\{\d\d\}:limit:Consecutive.*", text, re.ASCII) is not None


def build_moved_key(entry_key: str) -> str:
    """Return the key of the note that an entry of the do-not-send list was moved."""
    tag, name = entry_key.split(":", 1)
    return f"{tag}:moved:{name}"
