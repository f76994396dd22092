"""Every key name, spelled here and nowhere else; README.md lists them with their life times.

A name holds nothing that a person chose: tenants are checked names from the settings, ids match
a pattern, and everything else enters as an HMAC under the `limit` key. `{NN}` is the hash tag of
the partition, so that Redis Cluster keeps a partition's keys together.
"""

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.keys import Key
from otp_service.core.limits import Bucket


class KeyNames:
    """The key names of one installation."""

    def __init__(self, limit_key: Key) -> None:
        self._limit_key = limit_key
        self._last_subject_digest = ("", "")

    def compute_partition(self, *subject: str) -> int:
        """Return the partition that this subject belongs to, from 0 to 63."""
        return int.from_bytes(self._compute_mac("partition", *subject)[:8], "big") % PARTITION_COUNT

    def compute_number_partition(self, number: str) -> int:
        """Return the partition in which everything about a (collapsed) number lives."""
        return self.compute_partition("number", number)

    def compute_bucket_partition(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that does not live with a number."""
        return self.compute_partition(bucket.limit, bucket.tenant, bucket.subject)

    def challenge_record_key(self, partition: int, tenant: str, challenge_id: str) -> str:
        """Record of a challenge."""
        return f"{{{partition:02d}}}:challenge:{tenant}:{challenge_id}"

    def secret_record_key(self, partition: int, tenant: str, challenge_id: str) -> str:
        """What of a challenge must not outlive its deadline."""
        return f"{{{partition:02d}}}:secret:{tenant}:{challenge_id}"

    def bucket_key(self, partition: int, bucket: Bucket) -> str:
        """One limit's bucket for one subject."""
        # A number has half a dozen buckets, which are named in one go.
        subject, name = self._last_subject_digest
        if subject != bucket.subject or not name:
            name = self._compute_mac("bucket", bucket.subject)[:16].hex()
            self._last_subject_digest = (bucket.subject, name)
        return f"{{{partition:02d}}}:limit:{bucket.limit}:{bucket.tenant}:{name}"

    def blocklist_key(self, partition: int, number: str) -> str:
        """Entry of a number on the do-not-send list."""
        return f"{{{partition:02d}}}:blocked:{self._compute_mac('blocked', number)[:16].hex()}"

    def locate_idempotency_record(self, tenant: str, idempotency_key: str) -> tuple[int, str]:
        """Record of an Idempotency-Key, and the partition of its own that it lives in."""
        partition = self.compute_partition("idempotency", tenant, idempotency_key)
        name = self._compute_mac("idempotency", tenant, idempotency_key)[:16].hex()
        return partition, f"{{{partition:02d}}}:idempotency:{tenant}:{name}"

    def message_id_key(self, provider: str, message_id: str) -> str:
        """What a provider's own name for a message stands for, in a partition of its own."""
        partition = self.compute_partition("submission", provider, message_id)
        return f"{{{partition:02d}}}:submission:{self._compute_mac('submission', provider, message_id)[:16].hex()}"

    def locate_provider_health(self) -> tuple[int, str]:
        """What is remembered of providers, and the partition that it lives in."""
        return 0, "{00}:providers"

    def sealer_key(self) -> str:
        """Who seals, until when, and what he tells of it."""
        return "{00}:sealer"

    def operation_key(self, partition: int, operation: str) -> str:
        """What a commit answered, for the caller who lost the reply."""
        return f"{{{partition:02d}}}:operation:{operation}"

    def event_log_keys(self, partition: int) -> tuple[str, ...]:
        """State of the event log, its events, its refusals, open folds and when they are due."""
        tag = f"{{{partition:02d}}}"
        return tuple(f"{tag}:{kind}" for kind in ("log", "events", "refusals", "folds", "due"))

    def _compute_mac(self, label: str, *fields: str) -> bytes:
        return self._limit_key.compute_mac(label, *[field.encode() for field in fields])
