"""Secrets: how they are recognized, and a filter that takes them out of what this process writes.

Nothing should print a secret in the first place: settings show themselves masked, and tracebacks carry no values. The
filter is the second line of defence. It stands at one place, this process's standard error, where every log line,
warning and traceback goes, whichever code writes it. It knows the values in the environment, the flags and the
settings, and it masks the password in anything that looks like a URL.

This module imports nothing but the standard library, since `headrace --help` imports it.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO, cast
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MASK = "***"
SHORT = 8
"""A secret of fewer characters is masked only where it stands as a word of its own: "test" must not garble "latest"."""
LEAST = 3
"""One of fewer characters than this is masked within URLs only."""
VARIABLES = ("HEADRACE_", "KAFKA_", "REDIS_", "AWS_", "AZURE_", "GOOGLE_", "GCS_", "OTEL_")
"""Environment variables that Headrace and the libraries of its stores read begin with one of these."""

_WORDS = frozenset(
    {
        "authorization",
        "credential",
        "credentials",
        "jaas",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "secret",
        "secrets",
        "token",
    }
)
_ABOUT = frozenset({"url", "uri", "location", "path", "file", "id", "name", "type", "provider", "algorithm", "timeout"})
"""The last word of a name that describes a secret, but does not hold it: ssl.key.location."""
_URL_PASSWORD = re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s/@:'\"]*):[^\s/'\"]+@")
_URL_QUERY = re.compile(r"([?&]([\w.-]+)=)[^&\s'\"#]+")
_BEFORE_WORD = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\dm))"
"""Where a word begins: after the "n" of an escaped newline too, and after the "m" that ends a terminal's color."""
_PAIR = re.compile(r"""["']?([\w.-]+)["']?\s*[:=]\s*(?:"((?:[^"\\]|\\.)*)"?|'([^']*)'?|([^\s,}"']+))""")


def is_secret(name: str) -> bool:
    """Whether a setting, variable, librdkafka property or query parameter of this name holds a secret."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    if not words or words[-1] in _ABOUT:
        return False
    inline_key = words[-1] == "key" or words[-2:] == ["key", "pem"]
    return inline_key or bool(_WORDS.intersection(words)) or words[-2:] == ["oauthbearer", "config"]


def masked(text: str) -> str:
    """The text with the passwords of its URLs masked, and the secrets of their queries."""
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _URL_QUERY.sub(lambda m: f"{m[1]}{MASK}" if is_secret(m[2]) else m[0], text)


def secrets_in(name: str, value: str) -> Iterator[str]:
    """The secrets in the value of a setting or variable: itself, passwords of URLs, entries of JSON and of k=v.

    JSON that cannot be parsed is searched for pairs, since the message about it must not show them either.
    """
    if is_secret(name):
        yield value
    if "://" in value:
        for url in re.split(r",(?=[A-Za-z][\w+.-]*://)", value):
            yield from _of_url(url.strip())
    try:
        content = json.loads(value)
    except ValueError:
        for key, *values in _PAIR.findall(value):
            yield from (one for one in values if one and is_secret(key))
    else:
        yield from _of_json("", content)


def _of_json(name: str, content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _of_json(key if not is_secret(name) else name, value)
    elif isinstance(content, list):
        for value in content:
            yield from _of_json(name, value)
    elif name and content is not None and not isinstance(content, bool):
        yield from secrets_in(name, content) if isinstance(content, str) else [str(content)] * is_secret(name)


def _of_url(url: str) -> Iterator[str]:
    """A URL's password and the secrets of its query; every part of the password where the URL is malformed by it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # such as a password with a "/" that is not encoded
        password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        yield from (password, *re.split(r"[/?#@:\[\]]", password))
        return
    if parts.password:
        yield parts.password
    yield from (value for key, value in parse_qsl(parts.query) if is_secret(key))


class Redactor:
    """Replaces known secrets in text, in the forms in which programs write them. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Replace these from now on."""
        new = {form for secret in secrets for form in _forms(secret)}
        with self._lock:
            if new <= self._forms:
                return
            self._forms |= new
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_as_pattern, longest_first)))

    def clean(self, text: str) -> str:
        """The text without any of them, and without the password of any URL."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return masked(text) if "://" in text else text


def _forms(secret: str) -> Iterator[str]:
    """The secret as it is, encoded for a URL and decoded from one; each of its lines too, if it has several."""
    for plain in (secret, unquote(secret), *secret.splitlines()):
        for form in (plain, quote(plain, safe=""), quote_plus(plain)):
            if len(form) >= LEAST and form.strip("*"):
                yield form


def _as_pattern(form: str) -> str:
    text = "".join(map(_as_quoted, form))
    return text if len(form) >= SHORT else f"{_BEFORE_WORD}{text}(?![A-Za-z0-9])"


def _as_quoted(character: str) -> str:
    r"""A pattern for a character, as it is or escaped: by JSON, by Python, or by one within the other (\\")."""
    if character in "\"'":
        return rf"\\*{character}"
    if character == "\\":
        return r"\\+"
    if character.isascii() and character.isprintable():
        return re.escape(character)
    escapes = {json.dumps(character)[1:-1].lstrip("\\"), ascii(character)[1:-1].lstrip("\\")}
    return "|".join([f"(?:{re.escape(character)}", *(rf"\\+{re.escape(escape)}" for escape in sorted(escapes))]) + ")"


KNOWN = Redactor()
"""This process's secrets."""


def clean(text: str) -> str:
    """The text without this process's secrets."""
    return KNOWN.clean(text)


def learn(name: str, value: str) -> None:
    """Take note of the secrets in a setting's value."""
    KNOWN.learn(secrets_in(name, value))


def learn_process(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Take note of the secrets in the environment and the flags, before anything reads them, fails and shows them."""
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(VARIABLES):
            learn(name, value)
    flag = ""
    for word in argv:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            learn(flag, value)
        else:
            learn(flag, word)


def guard_stderr() -> None:
    """Let everything that Python code of this process writes to standard error go through the filter."""
    if not isinstance(sys.stderr, _Cleaned):
        sys.stderr = cast("TextIO", _Cleaned(sys.stderr))


class _Cleaned:
    """A text stream whose text goes through the filter; for all else it is the stream that it stands in for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._stream.write(clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))
