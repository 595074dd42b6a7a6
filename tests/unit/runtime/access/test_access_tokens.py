"""Tokens of an OIDC issuer: real signatures, an issuer that rotates its keys."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from headrace.contracts.access import Scope
from headrace.runtime.access.errors import Unauthenticated
from headrace.runtime.access.tokens import Tokens
from headrace.runtime.errors import ConfigError, DependencyError

URL = "https://issuer.example"


class Issuer:
    """Signs tokens and answers for its keys; counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        self.away = False
        self.rotate("one")

    def rotate(self, kid: str) -> None:
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())

    def fetch(self, url: str) -> dict[str, Any]:
        if self.away:
            raise OSError("no route")
        self.asked += 1
        if url == f"{URL}/.well-known/openid-configuration":
            return {"jwks_uri": f"{URL}/keys"}
        assert url == f"{URL}/keys"
        listed = (
            jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "alg": "ES256"}
            for kid, key in self.keys.items()
        )
        return {"keys": list(listed)}

    def token(self, kid: str = "one", **claims: Any) -> str:
        said = {"iss": URL, "aud": "headrace", "sub": "ada", "exp": time.time() + 60, "scope": "predict openid"}
        said |= claims
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, self.keys[kid], "ES256", headers={"kid": kid})


def tokens(issuer: Issuer, now: list[float] | None = None) -> Tokens:
    clock = now or [0.0]
    return Tokens(URL, "headrace", fetch=issuer.fetch, clock=lambda: clock[0])


def test_a_token_identifies_its_subject_with_the_scopes_that_are_known_here() -> None:
    issuer = Issuer()
    checked = tokens(issuer)
    token = issuer.token()
    assert checked.known(token) is None
    caller = checked.check(token)
    assert (caller.id, caller.scopes) == ("token:ada", {Scope.PREDICT})
    assert checked.known(token) == caller
    listed = checked.check(issuer.token(scope=["headrace:label", "read", "unknown"]))
    assert listed.scopes == {Scope.LABEL, Scope.READ}
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1}, {"exp": None}, {"aud": "other"}, {"aud": None}, {"iss": "https://other.example"}, {"iss": None},
        {"sub": None}, {"nbf": 32503680000},
    ],
)  # fmt: skip
def test_a_token_that_is_not_for_us_or_not_valid_now_is_refused(claims: dict[str, Any]) -> None:
    issuer = Issuer()
    with pytest.raises(Unauthenticated):
        tokens(issuer).check(issuer.token(**claims))


def signed_with_the_public_key(claims: dict[str, Any], public: str) -> str:
    """A token whose secret is what everybody knows: as a verifier would take it that lets the header choose."""
    parts = ({"alg": "HS256", "kid": "one", "typ": "JWT"}, claims)
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(public.encode(), text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


def test_forged_tokens_are_refused() -> None:
    issuer, other = Issuer(), Issuer()
    checked = tokens(issuer)
    claims = {"iss": URL, "aud": "headrace", "sub": "ada", "exp": time.time() + 60}
    public = jwt.algorithms.ECAlgorithm.to_jwk(issuer.keys["one"].public_key())
    rsa_key = rsa.generate_private_key(65537, 2048)
    for forged in (
        other.token(),
        jwt.encode(claims, None, "none", headers={"kid": "one"}),  # type: ignore[arg-type]
        signed_with_the_public_key(claims, public),
        jwt.encode(claims, rsa_key, "RS256", headers={"kid": "one"}),
        issuer.token()[:-4] + "AAAA",
        "not a token",
        "a.b.c",
    ):
        with pytest.raises(Unauthenticated):
            checked.check(forged)


def test_a_rotated_key_is_fetched_and_made_up_key_ids_do_not_make_us_ask_again_and_again() -> None:
    issuer, now = Issuer(), [0.0]
    checked = tokens(issuer, now)
    checked.check(issuer.token())
    issuer.rotate("two")
    fresh = issuer.token("two")
    with pytest.raises(Unauthenticated, match="does not list"):
        checked.check(fresh)
    now[0] = 11.0
    assert checked.check(fresh).id == "token:ada"
    asked = issuer.asked
    stranger = Issuer()
    for number in range(50):
        stranger.rotate(f"made-up-{number}")
        with pytest.raises(Unauthenticated):
            checked.check(stranger.token(f"made-up-{number}"))
    assert issuer.asked == asked


def test_keys_that_are_known_go_on_counting_while_the_issuer_is_away() -> None:
    issuer, now = Issuer(), [0.0]
    checked = tokens(issuer, now)
    issuer.away = True
    with pytest.raises(DependencyError, match=r"issuer\.example"):
        checked.check(issuer.token())
    issuer.away = False
    checked.check(issuer.token())
    issuer.away, now[0] = True, 7200.0
    assert checked.check(issuer.token(sub="bob")).id == "token:bob"


def test_an_issuer_without_tls_is_taken_on_this_machine_only() -> None:
    Tokens("http://127.0.0.1:8080/realm", "headrace")
    with pytest.raises(ConfigError, match="https"):
        Tokens("http://issuer.example", "headrace")
