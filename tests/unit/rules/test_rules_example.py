"""The rule in examples/rides, which stands there behind `#`."""

from pathlib import Path

from headrace.model.spec_file import load_spec
from headrace.rules import describe

RIDES = Path(__file__).parents[3] / "examples" / "rides" / "pipeline.yaml"


def test_without_its_comment_signs_it_is_a_rule(tmp_path: Path) -> None:
    text = RIDES.read_text()
    before, _, rule = text.partition("# rules:\n")
    lines = ["# rules:", *rule.splitlines()]
    assert all(line.startswith("# ") for line in lines)
    (tmp_path / "pipeline.yaml").write_text(before + "\n".join(line[2:] for line in lines))
    (found,) = load_spec(tmp_path).rules
    assert [describe.step(step).split()[0] for step in found.steps] == [
        "train", "evaluate", "gate:", "deploy", "after",
    ]  # fmt: skip
    assert not load_spec(RIDES.parent).rules
