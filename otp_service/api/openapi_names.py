"""The names of operations and components in the OpenAPI document, and references to them.

Generators make functions of operation ids and types of component names.
"""

from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler


SCHEMA_PATH: Final = "#/components/schemas/"


def name_operation(handler: HTTPRouteHandler) -> str:
    """Return the operation id: `issueChallenge` for `issue_challenge`."""
    name = to_pascal_case(handler.handler_name)
    return name[0].lower() + name[1:]


def name_request(handler: HTTPRouteHandler) -> str:
    """Return the schema of a request body, named after its call: `IssueChallengeRequest`."""
    return f"{to_pascal_case(handler.handler_name)}Request"


def name_response(kind: type[msgspec.Struct]) -> str:
    """Return the schema of a response body: `Challenge` for `ChallengeView`."""
    return kind.__name__.removesuffix("View")


def name_problem(slug: str) -> str:
    """Return the schema of a problem: `IncorrectCodeProblem` for `incorrect-code`."""
    return f"{to_pascal_case(slug)}Problem"


def to_pascal_case(name: str) -> str:
    return "".join(word.title() for word in name.replace("-", "_").split("_"))


def build_schema_ref(name: str) -> dict[str, Any]:
    return {"$ref": f"{SCHEMA_PATH}{name}"}
