"""Replies of a server, and their bytes in RESP 2."""

from typing import Any


class ErrorReply(Exception):
    """An error of Redis. Its text begins with a code, such as `WRONGTYPE`."""


class UnknownCommand(ErrorReply):
    """A command, an argument or a script that the model does not have. The model lacks it: a finding."""


OK = "OK"


def encode_reply(reply: Any) -> bytes:
    """Return the bytes of None, an integer, bytes, a str (a status), an ErrorReply, or a list of those."""
    kind = type(reply)
    if kind is bytes:
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if kind is int:
        return b":%d\r\n" % reply
    if reply is None:
        return b"$-1\r\n"
    if kind is list or kind is tuple:
        return b"*%d\r\n" % len(reply) + b"".join([encode_reply(item) for item in reply])
    if kind is str:
        return b"+%b\r\n" % reply.encode()
    if isinstance(reply, ErrorReply):
        return b"-%b\r\n" % str(reply).encode()
    raise TypeError(f"{kind.__name__} is no reply")
