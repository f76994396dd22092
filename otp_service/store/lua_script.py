"""A Lua script whose reply echoes the token of its call."""

import hashlib


class LuaScript:
    """A script, and the digest by which Redis knows it.

    Its last argument is a token, and its reply is the token and then what `body` returns. So a reply
    that reaches another call is recognised (`line.py`), whichever script it is of.
    """

    def __init__(self, body: str) -> None:
        self.source = _add_echo(body)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def _add_echo(body: str) -> str:
    shebang, body = body.split("\n", 1) if body.startswith("#!") else ("#!lua", body)
    # On the line of the first statement: Redis's errors name the lines of `body`.
    return f"{shebang}\nlocal function main() {body}\nend\nreturn {{ ARGV[#ARGV], main() }}"
