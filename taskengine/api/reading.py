"""`/docs`: the OpenAPI document to read and to try. Its browser modules come from a wheel; nothing is asked of others."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from taskengine.api.answers import ALWAYS
from taskengine.domain.errors import NotFound

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Task Engine: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""
_MODULES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def reading_page() -> web.Response:
    """The page; it may load what is here alone."""
    return web.Response(
        text=_PAGE, content_type="text/html", charset="utf-8", headers={**ALWAYS, "Content-Security-Policy": _POLICY}
    )


def reading_file(name: str) -> web.StreamResponse:
    """A file of the page."""
    if name == "start.js":
        return web.Response(text=_START, content_type="text/javascript", charset="utf-8", headers=ALWAYS)
    if name not in _MODULES:
        raise NotFound(f"there is no {name[:40]!r}")
    headers = {**ALWAYS, "Content-Type": f"{_MODULES[name]}; charset=utf-8", "Cache-Control": "max-age=86400"}
    return web.FileResponse(_folder() / name, headers=headers)


@cache
def _folder() -> Path:
    """Where the wheel has the modules; the package itself is not imported: it brings much that is not used."""
    spec = find_spec("swagger_ui")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise NotFound("the page's modules are not installed (swagger-ui-py); the document is at /openapi.json")
    return Path(places[0]) / "static"
