"""The role `labelling` as the command asks it."""

import getpass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
import typer

from headrace.launch.run_file import folder_of
from headrace.runtime.endpoints import find
from headrace.runtime.errors import ConfigError, DataError, DependencyError
from headrace.runtime.http import request

_BASE = "/v1/labelling"
_TIMEOUT_S = 120.0

WhoOption = Annotated[
    str, typer.Option("--as", help="who labels", show_default="your user name", default_factory=getpass.getuser)
]
UrlOption = Annotated[
    str, typer.Option("--url", help="REST address of the role (default: the run's)", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="print what the role answers, for programs")]


class LabellingClient:
    """Asks the role: of the address given, else of a run."""

    def __init__(self, url: str, run: str | None) -> None:
        folder = None if url else folder_of(run)
        found = [url] if url else find(folder, "labelling", "rest") if folder is not None else []
        if not found:
            raise ConfigError(
                "no role labelling runs here",
                hint="headrace up starts it; or name its address by --url http://host:port",
            )
        self._address = found[0].rstrip("/")

    def get(self, *path: str, **query: str | None) -> bytes:
        """The body of an answer.

        Raises:
            DependencyError: no answer, or not now.
            ConfigError: there is no such queue or item.
        """
        return self._asked(None, path, query)

    def post(self, *path: str, body: Any, **query: str | None) -> Any:
        """The content of an answer to `body`; errors as `get`, and DataError where what was sent is refused."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return msgspec.json.decode(self._asked(data, path, query))

    def _asked(self, body: bytes | None, path: tuple[str, ...], query: dict[str, str | None]) -> bytes:
        where = "/".join(quote(part, safe="") for part in path)
        chosen = urlencode({name: value for name, value in query.items() if value is not None})
        status, answer = request(
            f"{self._address}{_BASE}/{where}{'?' if chosen else ''}{chosen}", body, timeout=_TIMEOUT_S
        )
        if status == 200:
            return answer
        said = _error(answer, status)
        if status >= 500:
            raise DependencyError(said)
        raise ConfigError(said) if status == 404 else DataError(said)


def _error(answer: bytes, status: int) -> str:
    try:
        return str(msgspec.json.decode(answer)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the role answered {status}"


def fields_of(given: list[str], form: dict[str, Any]) -> dict[str, Any]:
    """A label of words `field=value`, each value read as its field's kind asks.

    Raises:
        ConfigError: a word has no `=`, or names no field.
    """
    kinds = {field["name"]: field for field in form["fields"]}
    label: dict[str, Any] = {}
    for word in given:
        name, sign, text = word.partition("=")
        if not sign or name not in kinds:
            raise ConfigError(f"{word!r}: expected field=value", hint=f"the fields are {', '.join(kinds)}")
        label[name] = _value(text, kinds[name])
    return label


def _value(text: str, field: dict[str, Any]) -> Any:
    """Text as a value: what is not JSON of the kind is sent as text, and the role says what is wrong with it."""
    choices = field.get("choices") or []
    if field["kind"] in ("text", "datetime") or text in choices:
        return None if text == "null" and field.get("nullable") else text
    if field["kind"] == "choices" and not text.startswith("["):
        return [_value(one, {**field, "kind": "choice"}) for one in text.split(",") if one]
    try:
        return msgspec.json.decode({"yes": "true", "no": "false"}.get(text, text))
    except msgspec.DecodeError:
        return text
