"""The landing page: a list of the routes."""

from html import escape

from headrace import __version__

_ROUTES = (
    (
        "POST",
        "/v1/pipelines/{p}/predict",
        "one event or a list of events: predictions, with the version and checkpoint that made them",
    ),
    ("POST", "/v1/pipelines/{p}/events", "append events"),
    ("POST", "/v1/pipelines/{p}/labels", "append labels"),
    (
        "GET",
        "/v1/pipelines/{p}/predictions",
        "follow the predictions (server-sent events); ?from=earliest, ?key=..., ?model=...",
    ),
    ("GET", "/v1/pipelines/{p}/shadows", "follow what shadow models predict, if there are any"),
    ("GET", "/v1/pipelines/{p}/models", "the champion, canaries and shadows: shares, versions, errors"),
    ("GET", "/v1/status", "roles, readiness, versions"),
    ("GET", "/docs", "the documentation of this API"),
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headrace: {pipeline}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1rem; color: #1c2a33 }}
code {{ font-size: 0.95em }} td {{ padding: 0.25rem 1rem 0.25rem 0; vertical-align: top }} small {{ color: #5a6b75 }}
</style>
</head>
<body>
<h1>Headrace</h1>
<p>The gateway of pipeline <b>{pipeline}</b>. It answers:</p>
<table>
{rows}
</table>
<p>Try: <code>curl -N {{this address}}/v1/pipelines/{pipeline}/predictions</code></p>
<p><small>version {version}</small></p>
</body>
</html>
"""


def landing(pipeline: str) -> str:
    """The page, in HTML."""
    rows = [
        f"<tr><td><code>{method}</code></td><td><code>{_link(method, path, pipeline)}</code></td><td>{what}</td></tr>"
        for method, path, what in _ROUTES
    ]
    return _PAGE.format(pipeline=escape(pipeline), rows="\n".join(rows), version=__version__)


def _link(method: str, path: str, pipeline: str) -> str:
    path = escape(path.replace("{p}", pipeline))
    return f'<a href="{path}">{path}</a>' if method == "GET" else path
