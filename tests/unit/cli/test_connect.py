"""What a command is about, from the folder of a run."""

from pathlib import Path

import pytest

from headrace.launch.run_file import model_of, remember


@pytest.mark.parametrize(
    ("named", "meant"),
    [(None, "heat"), ("heat", "heat"), ("wide", "heat.wide"), ("heat.wide", "heat.wide"), ("flights", "flights")],
)
def test_a_further_model_may_be_named_as_pipeline_yaml_does(tmp_path: Path, named: str | None, meant: str) -> None:
    remember(tmp_path, pipeline="heat", pipeline_folder=tmp_path / "heat", models=["wide"])
    assert model_of(named, str(tmp_path)) == meant


def test_without_a_run_only_what_is_named_is_known(tmp_path: Path) -> None:
    assert model_of("wide", str(tmp_path)) == "wide"
    assert model_of(None, str(tmp_path)) is None
