"""API keys: `hr_<id>_<secret>`. Only the digest of the secret is kept; whoever lost a key makes another."""

import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from headrace.contracts.access import ApiKey, Scope
from headrace.runtime.access.errors import Unauthenticated
from headrace.runtime.errors import ConfigError

_FORM = re.compile(r"hr_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32
_NOBODY = ApiKey("", "", hashlib.sha256(b"nobody").hexdigest(), (), 0)
_decode = msgspec.json.Decoder(ApiKey).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Principal:
    """Who calls."""

    id: str
    """`key:<id>` or `token:<subject>`."""
    name: str
    scopes: frozenset[Scope]
    rate: float = 0.0
    burst: int = 0


def make_key(
    name: str,
    scopes: tuple[Scope, ...],
    *,
    valid_for: timedelta | None = None,
    rate: float = 0.0,
    burst: int = 0,
    created_by: str = "",
) -> tuple[str, ApiKey]:
    """A new key as its holder needs it, and its record.

    Raises:
        ConfigError: it would be for nothing, or expire before it is used.
    """
    if not scopes:
        raise ConfigError("a key needs a scope", hint=f"one or more of: {', '.join(Scope)}")
    if valid_for is not None and valid_for <= timedelta(0):
        raise ConfigError(f"a key cannot expire after {valid_for}", hint="--expires 90d")
    key_id, secret, now = secrets.token_hex(6), secrets.token_urlsafe(_SECRET_BYTES), time.time_ns() // 1000
    expires = 0 if valid_for is None else now + int(valid_for.total_seconds() * 1e6)
    record = ApiKey(
        key_id, name, _digest(secret), scopes, now, created_by, expires_us=expires, rate=rate, burst=burst
    )  # fmt: skip
    return f"hr_{key_id}_{secret}", record


def looks_like_key(credential: str) -> bool:
    """Whether a credential has the form of an API key."""
    return credential.startswith("hr_")


def encoded(record: ApiKey) -> bytes:
    """A record of headrace.keys."""
    return _encode(record)


def decoded(value: bytes) -> ApiKey:
    """A record of headrace.keys.

    Raises:
        msgspec.DecodeError: it is none, or has a scope that is not known here.
    """
    return _decode(value)


class KeyRing:
    """The keys that are known, by id. Filled by one thread and asked by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, ApiKey] = {}

    def apply(self, record: ApiKey) -> None:
        """Take a key's newest record."""
        with self._lock:
            self._keys[record.id] = record

    def all(self) -> list[ApiKey]:
        """The newest record of each key, oldest key first."""
        with self._lock:
            return sorted(self._keys.values(), key=lambda key: key.created_us)

    def check(self, credential: str, now_us: int | None = None) -> Principal:
        """Whose key it is. The time that it takes does not depend on how much of a wrong secret is right.

        Raises:
            Unauthenticated: it is nobody's, or not valid any more.
        """
        form = _FORM.fullmatch(credential)
        known = self._keys.get(form[1]) if form else None
        record = known or _NOBODY
        same = hmac.compare_digest(_digest(form[2] if form else credential), record.digest)
        if known is None or not same:
            raise Unauthenticated("the API key is not known")
        now = time.time_ns() // 1000 if now_us is None else now_us
        if record.revoked_us:
            raise Unauthenticated(f"the API key {record.id} ({record.name}) was revoked")
        if record.expires_us and now >= record.expires_us:
            raise Unauthenticated(f"the API key {record.id} ({record.name}) has expired")
        return Principal(f"key:{record.id}", record.name, frozenset(record.scopes), record.rate, record.burst)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
