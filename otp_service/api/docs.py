"""/openapi.yaml and /docs: the OpenAPI document for programs, and as an HTML page.

The page is rendered here, once. It has no script and loads nothing, as the page of the security team
(decision 26): a browser's viewer of OpenAPI documents would be a megabyte of scripts on a listener
that also shows events.
"""

import functools
import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

import jinja2
from litestar import get
from litestar.response.base import ASGIResponse

from otp_service.api import openapi
from otp_service.api.responses import build_html_response


@get("/openapi.yaml")
async def get_openapi_document() -> ASGIResponse:
    return ASGIResponse(body=openapi.render_document(), media_type="application/yaml")


@get("/docs")
async def show_docs() -> ASGIResponse:
    return build_html_response(render_docs())


@cache
def render_docs() -> str:
    """Return the page: every call, parameter, body, example and problem of the document."""
    text = files(__package__).joinpath("docs.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined)
    environment.filters["json"] = functools.partial(json.dumps, indent=2, ensure_ascii=False)
    template = environment.from_string(text)
    return template.render(
        document=openapi.build_document(), groups=_group_calls(), resolve=_resolve_reference
    )


def _group_calls() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the tags, each with its calls in the order of the document."""
    document = openapi.build_document()
    calls = [
        {**operation, "method": method.upper(), "path": path}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return [(tag, [c for c in calls if tag["name"] in c["tags"]]) for tag in document["tags"]]


def _resolve_reference(part: dict[str, Any]) -> dict[str, Any]:
    """Return the component to which a part refers, or the part itself."""
    if "$ref" not in part:
        return part
    found = openapi.build_document()
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


DOCS_HANDLERS: Final = (get_openapi_document, show_docs)
