"""Agreement between two people, beside values worked out by hand."""

import pytest

from services.labelling.forms.fields import FormField
from services.labelling.work.agreement import Double, agreement, cohens_kappa, mean_absolute_difference


def test_kappa_of_a_table_worked_out_by_hand() -> None:
    """20 times both said yes, 15 both no, 5 the first alone yes, 10 the second alone: p_o 0.7, p_e 0.5."""
    pairs = [(True, True)] * 20 + [(False, False)] * 15 + [(True, False)] * 5 + [(False, True)] * 10
    assert cohens_kappa(pairs) == pytest.approx(0.4)


def test_kappa_is_one_for_equal_and_below_nought_for_opposite_answers() -> None:
    assert cohens_kappa([("a", "a"), ("b", "b"), ("c", "c")]) == pytest.approx(1.0)
    assert cohens_kappa([("a", "b"), ("b", "a")]) == pytest.approx(-1.0)


def test_kappa_is_not_defined_without_answers_or_where_there_was_but_one() -> None:
    assert cohens_kappa([]) is None
    assert cohens_kappa([("a", "a")] * 5) is None


def test_numbers_differ_by_their_mean_absolute_difference() -> None:
    assert mean_absolute_difference([(1.0, 2.0), (5, 2)]) == 2.0
    assert mean_absolute_difference([]) is None


def test_pairs_of_people_are_told_apart_whoever_was_first() -> None:
    fields = [FormField("y", "number"), FormField("kind", "choice", choices=["a", "b"]), FormField("tags", "json")]
    same = {"y": 1.0, "kind": "a", "tags": ["x"]}
    found = agreement(
        [
            Double(("ana", "ben"), (same, same)),
            Double(("ben", "ana"), ({**same, "y": 4.0}, {**same, "kind": "b"})),
            Double(("ana", "cleo"), (same, {**same, "tags": []})),
        ],
        fields,
    )
    assert found["items"] == 3
    assert [(one["field"], one["kind"]) for one in found["fields"]] == [
        ("y", "numbers"),
        ("kind", "categories"),
        ("tags", "categories"),
    ]
    assert found["fields"][0]["mean_absolute_difference"] == 1.0
    assert [(pair["labellers"], pair["n"]) for pair in found["pairs"]] == [(["ana", "ben"], 2), (["ana", "cleo"], 1)]
    assert [one["percent"] for one in found["pairs"][0]["fields"]] == [50.0, 50.0, 100.0]
