"""The factors with which a person proves an account; each has limits of its own."""

from enum import StrEnum


class Factor(StrEnum):
    """What a code comes from. The values are in the subjects of buckets."""

    SMS = "sms"
    AUTHENTICATOR = "authenticator"
    RECOVERY_CODE = "recovery"
