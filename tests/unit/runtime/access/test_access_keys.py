"""API keys: what they are made of, and whom they let in."""

from datetime import timedelta

import msgspec
import pytest

from headrace.contracts.access import ApiKey, Scope
from headrace.runtime.access.errors import Unauthenticated
from headrace.runtime.access.keys import KeyRing, decoded, encoded, make_key
from headrace.runtime.errors import ConfigError


def ring_of(*records: ApiKey) -> KeyRing:
    ring = KeyRing()
    for record in records:
        ring.apply(record)
    return ring


def test_a_key_identifies_its_holder_with_name_and_scopes() -> None:
    key, record = make_key("checkout", (Scope.PREDICT, Scope.READ), rate=5, burst=2)
    caller = ring_of(record).check(key)
    assert (caller.id, caller.name, caller.rate, caller.burst) == (f"key:{record.id}", "checkout", 5, 2)
    assert caller.scopes == {Scope.PREDICT, Scope.READ}


def test_the_record_does_not_hold_the_key() -> None:
    key, record = make_key("checkout", (Scope.PREDICT,))
    secret = key.split("_", 2)[2]
    assert secret not in encoded(record).decode()
    assert decoded(encoded(record)) == record


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: "hr_" + "0" * 12 + key[15:],
        lambda key: key.replace("hr_", "hr-"),
        lambda key: "",
        lambda key: "hr_",
        lambda key: key.upper(),
        lambda key: key + "\n",
    ],
)
def test_whatever_is_not_the_whole_key_is_refused(spoil: object) -> None:
    key, record = make_key("checkout", (Scope.ADMIN,))
    with pytest.raises(Unauthenticated):
        ring_of(record).check(spoil(key))  # type: ignore[operator]


def test_an_expired_key_and_a_revoked_one_are_refused_by_name() -> None:
    key, record = make_key("checkout", (Scope.READ,), valid_for=timedelta(hours=1))
    ring = ring_of(record)
    assert ring.check(key, record.expires_us - 1).name == "checkout"
    with pytest.raises(Unauthenticated, match=r"checkout.*expired"):
        ring.check(key, record.expires_us)
    ring.apply(msgspec.structs.replace(record, revoked_us=1))
    with pytest.raises(Unauthenticated, match=r"checkout.*revoked"):
        ring.check(key, record.created_us)


def test_two_keys_of_one_name_differ_in_id_and_secret() -> None:
    (one, first), (two, second) = make_key("a", (Scope.READ,)), make_key("a", (Scope.READ,))
    assert first.id != second.id
    assert first.digest != second.digest
    ring = ring_of(first, second)
    assert ring.check(one).id != ring.check(two).id


def test_a_key_for_nothing_or_without_a_lifetime_is_not_made() -> None:
    with pytest.raises(ConfigError, match="scope"):
        make_key("a", ())
    with pytest.raises(ConfigError, match="expire"):
        make_key("a", (Scope.READ,), valid_for=timedelta(0))
