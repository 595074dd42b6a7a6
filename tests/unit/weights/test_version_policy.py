"""Which versions are kept for requests to name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.weights.worker.version_policy import MOST, VersionPolicy

POLICIES = st.one_of(
    st.integers(1, MOST).map(VersionPolicy),
    st.frozensets(st.integers(1, 50), min_size=1, max_size=5).map(lambda found: VersionPolicy(1, found)),
)


@pytest.mark.parametrize(
    ("text", "policy", "told"),
    [
        ("latest", VersionPolicy(1), {"latest": {"num_versions": 1}}),
        ("latest:3", VersionPolicy(3), {"latest": {"num_versions": 3}}),
        ("all", VersionPolicy(MOST), {"all": {}}),
        ("specific:7,3", VersionPolicy(1, frozenset({3, 7})), {"specific": {"versions": [3, 7]}}),
    ],
)
def test_a_policy_is_read_and_told(text: str, policy: VersionPolicy, told: dict) -> None:
    assert VersionPolicy.parse(text) == policy
    assert policy.as_config() == told


@pytest.mark.parametrize(
    "text",
    ["", "newest", "latest:", "latest:0", "latest:x", "latest:1,2", "latest:33", "specific", "specific:", "all:3"],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no version policy"):
        VersionPolicy.parse(text)


@given(POLICIES, st.lists(st.integers(1, 60), min_size=1, unique=True))
def test_the_live_version_is_always_kept_and_never_more_than_the_most(policy: VersionPolicy, served: list[int]) -> None:
    kept = policy.kept(served)

    assert kept[0] == served[0]
    assert len(kept) <= policy.most
    assert kept == [version for version in served if version in kept]
    assert set(kept[1:]) <= (policy.specific or set(served))
