"""JWTs of an OIDC issuer (RFC 7519, OpenID Connect Discovery 1.0).

The issuer's keys are fetched once and kept; an unknown key id makes them be fetched again, so that the issuer may
rotate them, but not more often than every `_LEAST_S`, so that made-up ids cost nobody anything. Only the issuer that
the settings name is asked: nothing in a token is followed.
"""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import jwt

from headrace.contracts.access import Scope
from headrace.runtime.access.errors import Unauthenticated
from headrace.runtime.access.keys import Principal
from headrace.runtime.errors import ConfigError, DependencyError
from headrace.runtime.logging import get_logger

log = get_logger("headrace.access")

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only asymmetric ones: what verifies a token cannot make one."""
_LEAST_S, _LONGEST_S = 10.0, 3600.0
_TIMEOUT_S = 5.0
_MAX_BYTES = 1 << 20
_LEEWAY_S = 30
_KEPT = 4096

Fetch = Callable[[str], dict[str, Any]]


def fetch_json(url: str) -> dict[str, Any]:
    """A JSON document of the issuer.

    Raises:
        OSError, ValueError: it cannot be had.
    """
    with urllib.request.build_opener(_NoRedirects).open(url, timeout=_TIMEOUT_S) as answer:
        document = json.loads(answer.read(_MAX_BYTES))
    if not isinstance(document, dict):
        raise ValueError(f"{url}: not a JSON object")  # noqa: TRY004 - a wrong value from outside
    return document


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


class Tokens:
    """Checks tokens. May be asked from several threads.

    Args:
        issuer: its URL, as tokens name it in `iss`.
        audience: what tokens must name in `aud`.
        claim: the claim with the scopes: a list, or a string of words (`scope` as OAuth 2.0 has it).
        fetch: gets a JSON document by its URL.
        clock: seconds, monotonic.

    Raises:
        ConfigError: the issuer's URL is not https, nor of this machine.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        claim: str = "scope",
        fetch: Fetch = fetch_json,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ConfigError(f"--oidc-issuer {issuer}: not an https address", hint="tokens are as safe as their keys")
        self._issuer, self._audience, self._claim = issuer, audience, claim
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched_at: float | None = None
        self._checked: dict[str, tuple[Principal, float]] = {}

    def known(self, token: str) -> Principal | None:
        """Whose token it is, if it was checked before and is still valid."""
        found = self._checked.get(token)
        return found[0] if found is not None and time.time() < found[1] else None

    def check(self, token: str) -> Principal:
        """Whose token it is. May ask the issuer for its keys, which blocks.

        Raises:
            Unauthenticated: it is not valid.
            DependencyError: the issuer's keys cannot be had.
        """
        if (found := self.known(token)) is not None:
            return found
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                self._key(str(header.get("kid", ""))),
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise Unauthenticated(f"the token is not valid: {error}") from error
        principal = self._principal(claims)
        self._keep(token, principal, float(claims["exp"]))
        return principal

    def _principal(self, claims: dict[str, Any]) -> Principal:
        said = claims.get(self._claim, ())
        words = said.split() if isinstance(said, str) else said if isinstance(said, list) else ()
        names = {str(word).removeprefix("headrace:") for word in words}
        scopes = frozenset(scope for scope in Scope if scope.value in names)
        subject = str(claims["sub"])
        return Principal(f"token:{subject}", str(claims.get("preferred_username", subject)), scopes)

    def _keep(self, token: str, principal: Principal, expires: float) -> None:
        with self._lock:
            if len(self._checked) >= _KEPT:
                now = time.time()
                self._checked = {t: v for t, v in self._checked.items() if v[1] > now}
                if len(self._checked) >= _KEPT:
                    self._checked.clear()
            self._checked[token] = (principal, expires)

    def _key(self, kid: str) -> Any:
        with self._lock:
            age = float("inf") if self._fetched_at is None else self._clock() - self._fetched_at
            if age > _LONGEST_S or (kid not in self._keys and age > _LEAST_S):
                self._refresh()
            if kid not in self._keys:
                raise Unauthenticated("the token was signed by a key that its issuer does not list")
            return self._keys[kid]

    def _refresh(self) -> None:
        base = self._issuer.rstrip("/")
        try:
            document = self._fetch(f"{base}/.well-known/openid-configuration")
            url = str(document["jwks_uri"])
            listed = jwt.PyJWKSet.from_dict(self._fetch(url)).keys
        except (OSError, ValueError, KeyError, jwt.PyJWTError) as error:
            if self._keys:
                log.warning("the issuer's keys were not refreshed", issuer=self._issuer, error=str(error))
                self._fetched_at = self._clock()
                return
            raise DependencyError(f"the keys of {self._issuer} cannot be had: {error}") from error
        self._keys = {str(key.key_id or ""): key.key for key in listed}
        self._fetched_at = self._clock()
