"""The bucket of a limit as it is stored. The arithmetic of each kind is that of `core/limits.py`."""

from abc import ABC, abstractmethod
from typing import Final

from otp_service.store.commit_request import BucketOperation
from tests.simulation.redis_model.commit_script.script_call import CommitContext


MARK_CHARS: Final = 8


class Bucket(ABC):
    """The bucket of a key, read once in a commit; later charges and refunds of the commit see it."""

    def __init__(self, context: CommitContext, key: bytes) -> None:
        self.context = context
        self.key = key
        self.now = context.now

    @abstractmethod
    def settle(self) -> bool:
        """Correct what was written while the clock was ahead, and return whether that is so."""

    @abstractmethod
    def write(self) -> None:
        """Store what `settle` has corrected."""

    @abstractmethod
    def compute_wait(self, operation: BucketOperation) -> tuple[float, int]:
        """Return the wait until the cost fits, and the index of the window with it, from 1."""

    @abstractmethod
    def count_used(self, operation: BucketOperation, index: int) -> int:
        """Return how much of a window is used, by its index from 0."""

    @abstractmethod
    def charge(self, operation: BucketOperation) -> int | None:
        """Add the cost, and return the count of consecutive failures if this is one."""

    @abstractmethod
    def refund(self, operation: BucketOperation) -> None:
        """Reverse a charge of this operation."""

    def get_mark(self, operation: BucketOperation) -> bytes:
        """Return what the bucket remembers of the operation that charges it."""
        return self.context.get_key(operation.operation_key_index)[-MARK_CHARS:]
