"""docs/protocol-v2.md: each row names tests that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "protocol-v2.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| item", "| ---"))
]
FOLDERS = {"i": ROOT / "tests/integration/rpc", "u": ROOT / "tests/unit/inference/rpc"}


def names_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_table_is_the_whole_checklist() -> None:
    assert len(ROWS) > 60
    assert all(len(row) == 3 for row in ROWS), [row for row in ROWS if len(row) != 3]
    assert {row[1] for row in ROWS} <= {"yes", "refused"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_every_row_is_shown_by_a_test(row: list[str]) -> None:
    named = re.findall(r"`([iu])/(\w+)::(test_\w+)`", row[2])

    assert named, row
    for folder, file, test in named:
        assert test in names_in(FOLDERS[folder] / f"test_rpc_{file}.py"), (file, test)
