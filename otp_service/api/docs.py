"""/openapi.yaml and /docs: the OpenAPI document for programs, and as an HTML page.

The page has no script and loads nothing. It shows one part of the document under each heading, and
every `$ref` is a link.
"""

import re
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any, Final

from litestar import get
from litestar.response.base import ASGIResponse

from otp_service.api import openapi
from otp_service.api.responses import build_html_response


_PAGE_TEMPLATE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ margin-top: 2.5rem; font-size: 1.1rem; overflow-wrap: anywhere }}
pre {{ padding: 1rem; background: #8882; overflow: auto }}
p {{ white-space: pre-line }}
</style>
<h1>{title}</h1>
<p>{about}</p>
<p>For programs: <a href="openapi.yaml">openapi.yaml</a></p>
<ul>
{calls}
</ul>
{parts}
"""
_REF_PATTERN: Final = re.compile(r"&#x27;#(/components/[\w/.-]+)&#x27;")


@get("/openapi.yaml")
async def get_openapi_document() -> ASGIResponse:
    return ASGIResponse(body=openapi.render_document(), media_type="application/yaml")


@get("/docs")
async def show_docs() -> ASGIResponse:
    return build_html_response(_render_docs())


@cache
def _render_docs() -> str:
    info = openapi.build_document()["info"]
    parts = "\n".join(
        f'<h2 id="{anchor}">{name}</h2>\n<pre>{escape(openapi.to_yaml(part))}</pre>'
        for anchor, name, part in _iter_sections()
    )
    return _PAGE_TEMPLATE.format(
        title=escape(info["title"]),
        about=escape(info["description"]),
        calls="\n".join(
            f'<li><a href="#{part["operationId"]}">{name}</a> {escape(part["summary"])}'
            for _, name, part in _iter_sections()
            if "operationId" in part
        ),
        parts=_REF_PATTERN.sub(r'<a href="#\1">\1</a>', parts),
    )


def _iter_sections() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield anchor, name and content of each section."""
    for path, methods in openapi.build_document()["paths"].items():
        for method, operation in methods.items():
            yield operation["operationId"], f"{method.upper()} {path}", operation
    for kind in ("schemas", "responses", "examples"):
        for name, part in openapi.build_document()["components"][kind].items():
            yield f"/components/{kind}/{name}", name, part


DOCS_HANDLERS: Final = (get_openapi_document, show_docs)
