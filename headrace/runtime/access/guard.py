"""One decision for every transport: who calls, whether that suffices, and what is noted."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.contracts.access import AuditEntry, Scope
from headrace.runtime.access.audit import Audit, now_us
from headrace.runtime.access.errors import Forbidden, Refused, TooManyRequests, Unauthenticated
from headrace.runtime.access.keys import KeyRing, Principal, looks_like_key
from headrace.runtime.access.rates import Rates
from headrace.runtime.access.scopes import includes

if TYPE_CHECKING:  # it imports cryptography, which only those with an issuer need
    from headrace.runtime.access.tokens import Tokens

_LONGEST = 8192  # characters of a credential
_QUIET = frozenset({Scope.READ, Scope.INGEST, Scope.PREDICT})
"""What succeeds with these is not noted: it changes nothing that runs, and there are thousands a second."""


@dataclass(frozen=True)
class Asked:
    """A request, as far as it matters who may make it."""

    what: str
    """Method and path."""
    scope: Scope
    peer: str


class Guard:
    """Identifies callers, checks their scopes and rates, and has operations and refusals noted.

    Args:
        ring: the API keys.
        tokens: the OIDC issuer's tokens; None where there is no issuer.
        audit: takes the notes.
        role, instance: who we are, for the notes.
    """

    def __init__(self, ring: KeyRing, tokens: "Tokens | None", audit: Audit, *, role: str, instance: str) -> None:
        self._ring, self._tokens, self._audit = ring, tokens, audit
        self._role, self._instance = role, instance
        self._rates = Rates()

    def known(self, credential: str) -> Principal | None:
        """Who calls, without waiting; None for a token that was not seen before.

        Raises:
            Unauthenticated: the credential is missing or not valid.
        """
        if not credential:
            raise Unauthenticated("no credential: send Authorization: Bearer <API key or token>")
        if len(credential) > _LONGEST:
            raise Unauthenticated("the credential is too long")
        if looks_like_key(credential):
            return self._ring.check(credential)
        if self._tokens is None:
            raise Unauthenticated("the credential is no API key, and no issuer of tokens is set")
        return self._tokens.known(credential)

    async def identify(self, credential: str) -> Principal:
        """Who calls.

        Raises:
            Unauthenticated: the credential is missing or not valid.
            DependencyError: the issuer's keys cannot be had.
        """
        found = self.known(credential)
        if found is None:
            assert self._tokens is not None
            found = await asyncio.to_thread(self._tokens.check, credential)
        return found

    def allow(self, principal: Principal, scope: Scope) -> None:
        """Check that a caller may do it now, and count the request.

        Raises:
            Forbidden: the scope is missing.
            TooManyRequests: the rate is used up.
        """
        if not includes(principal.scopes, scope):
            has = ", ".join(sorted(principal.scopes)) or "none"
            raise Forbidden(f"{principal.name} lacks the scope {scope.value!r}; it has: {has}")
        self._rates.take(principal)

    def refused(self, asked: Asked, principal: Principal | None, why: Refused, status: int) -> None:
        """Note a refusal; of callers that are not known, so many a second at most."""
        if principal is None:
            try:
                self._rates.take(_STRANGERS)
            except TooManyRequests:
                return
        self._note(asked, principal, status, str(why))

    def answered(self, asked: Asked, principal: Principal, status: int) -> None:
        """Note an answer, if what was asked is more than looking or predicting."""
        if asked.scope not in _QUIET:
            self._note(asked, principal, status, "")

    def _note(self, asked: Asked, principal: Principal | None, status: int, detail: str) -> None:
        who = principal or _NOBODY
        self._audit.note(
            AuditEntry(
                now_us(),
                who.id,
                who.name,
                asked.scope.value,
                self._role,
                self._instance,
                asked.what,
                status,
                asked.peer,
                detail,
            )
        )


_NOBODY = Principal("", "", frozenset())
_STRANGERS = Principal("strangers", "strangers", frozenset(), rate=20.0, burst=200)


def credential_of(authorization: str, api_key: str) -> str:
    """The credential in these headers; "" for none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return api_key.strip()
