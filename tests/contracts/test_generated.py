"""The committed protobuf modules are what proto/ compiles to today."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_committed_protobuf_modules_are_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    fresh = generate.compile_into(tmp_path)

    assert fresh
    for path in fresh:
        committed = ROOT / "headrace" / "contracts" / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed} is out of date: run `make proto`"
