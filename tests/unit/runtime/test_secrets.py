"""Secrets are recognized by name and by place, and no form of one gets through the filter."""

import io
import json
import sys
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.events_pb2 import DeadLetter
from headrace.deadletters.letters import dead_letter
from headrace.runtime import secrets
from headrace.runtime.secrets import MASK, Redactor, is_secret, masked, secrets_in
from headrace.streams.memory import MemoryRecord


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config", "sasl.jaas.config", "HEADRACE_SIGNING_KEY", "--signing-key", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "sasl.oauthbearer.assertion.private.key.passphrase",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "sasl.username", "security.protocol", "ssl.key.location", "ssl.ca.pem", "sasl.oauthbearer.token.endpoint.url",
        "GOOGLE_APPLICATION_CREDENTIALS_FILE", "client.id", "HEADRACE_KAFKA_CONFIG", "monkey", "",
    ],
)  # fmt: skip
def test_names_of_what_is_none(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("HEADRACE_SIGNING_KEY", "hush", {"hush"}),
        ("REDIS_URL", "redis://:hush@h:1/0", {"hush"}),
        ("REDIS_URL", "rediss://me:hu%2Fsh@h:1/0", {"hu%2Fsh"}),
        ("REDIS_URL", "redis://h:1/0?password=hush&db=1", {"hush"}),
        ("REDIS_URL", "redis://h:1/0", set()),
        ("HEADRACE_INGEST_URLS", "http://a:one@h,http://b:two@h", {"one", "two"}),
        ("HEADRACE_KAFKA_CONFIG", '{"sasl.password": "a \\" b", "sasl.username": "u"}', {'a " b'}),
        ("HEADRACE_KAFKA_CONFIG", '{"sasl.password": {"x": ["hush", 12345]}}', {"hush", "12345"}),
        ("HEADRACE_KAFKA_CONFIG", '{"sasl.password": "hush", "sasl.username": "u"', {"hush"}),
        ("HEADRACE_KAFKA_CONFIG", '{"sasl.password": "hush', {"hush"}),
        ("HEADRACE_KAFKA_CONFIG", "{'sasl.password': 'hush'}", {"hush"}),
        ("--kafka-config", "sasl.password=hush", {"hush"}),
    ],
)
def test_what_is_secret_in_a_value(name: str, value: str, found: set[str]) -> None:
    assert set(secrets_in(name, value)) == found


def test_every_part_of_a_password_that_breaks_its_url_is_secret() -> None:
    found = set(secrets_in("REDIS_URL", "redis://:left/right@h:1/0"))  # read as a host without a name, and port "left"
    assert {"left/right", "left", "right"} <= found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at redis://:a@h:1/0, then", f"at redis://:{MASK}@h:1/0, then"),
        ("'http://me:p@ss@h/x'", f"'http://me:{MASK}@h/x'"),
        ("redis://h/0?password=a&db=2", f"redis://h/0?password={MASK}&db=2"),
        ("http://h:80/x", "http://h:80/x"),
        ("http://h:80/x and me@home", "http://h:80/x and me@home"),
    ],
)
def test_a_url_is_shown_without_its_password(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert Redactor().clean(text) == shown


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=secrets.LEAST))
def test_no_form_of_a_secret_gets_through(secret: str) -> None:
    redactor = Redactor()
    redactor.learn([secret])
    for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")):
        if form.strip("*"):
            assert redactor.clean(f"before '{form}' after") == f"before '{MASK}' after"


def test_a_short_secret_is_masked_only_as_a_word() -> None:
    redactor = Redactor()
    redactor.learn(["test", "a long secret", "ab"])
    assert redactor.clean("the latest test: a long secretx, ab") == f"the latest {MASK}: {MASK}x, ab"


@pytest.mark.parametrize("text", ["a\\nhush-1 b", "\x1b[36mhush-1\x1b[0m", "'hush-1'", "redis://:hush-1@h", "hush-1"])
def test_a_word_begins_after_an_escape_too(text: str) -> None:
    redactor = Redactor()
    redactor.learn(["hush-1"])
    assert "hush" not in redactor.clean(text)


def test_a_secret_is_masked_however_often_it_is_quoted() -> None:
    redactor, secret = Redactor(), 'left "right" \\ é'
    redactor.learn([secret])
    text = secret
    for quote_again in (json.dumps, repr, json.dumps, repr):
        text = quote_again(text)
        assert "left" not in redactor.clean(text)


def test_lines_of_a_secret_that_has_several_are_masked_one_by_one() -> None:
    redactor = Redactor()
    redactor.learn(["-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----\n"])
    assert "MIIE" not in redactor.clean("key: MIIEvQIBADAN")


def test_the_environment_and_the_flags_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "KNOWN", Redactor())
    environ = {"HEADRACE_SIGNING_KEY": "hush-1", "AWS_SECRET_ACCESS_KEY": "hush-2", "MY_SECRET": "a word"}
    secrets.learn_process(["--redis-url", "redis://:hush-3@h", "--signing-key=hush-4", "--ops-port", "80"], environ)
    shown = secrets.clean("hush-1 hush-2 hush-3 hush-4 a word 80")
    assert shown == f"{MASK} {MASK} {MASK} {MASK} a word 80"


def test_standard_error_is_filtered_and_is_otherwise_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(secrets, "KNOWN", Redactor())
    monkeypatch.setattr(sys, "stderr", stream)
    secrets.KNOWN.learn(["hush-hush"])
    secrets.guard_stderr()
    secrets.guard_stderr()
    print("a hush-hush matter", file=sys.stderr)
    sys.stderr.writelines(["hush-", "hush\n"])
    assert stream.getvalue() == f"a {MASK} matter\n{MASK}\n"
    assert sys.stderr.isatty() is False


def test_a_dead_letter_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "KNOWN", Redactor())
    secrets.KNOWN.learn(["hush-hush"])
    record = MemoryRecord(b"{", b"k", "t", 0, 1)
    error = ValueError("x" * 1995 + " hush-hush")  # the reason is cut after 2000 characters
    letter = DeadLetter.FromString(dead_letter(record, phase="forward", error=error, service="s", model="m", version=1))
    assert letter.reason == "x" * 1995 + f" {MASK}"
