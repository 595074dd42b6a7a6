"""Which processes a run starts."""

from pathlib import Path

from headrace.launch.pipeline_run import PipelineRun
from headrace.launch.roles import ANSWERING, BESIDE, COUNTING, PREDICTING, ROLES
from tests.line_kit import write_toy


def test_each_further_model_has_a_trainer_which_the_first_predictions_do_not_wait_for(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy", models=[{"name": "next", "role": "shadow"}])
    river = PipelineRun(folder, tmp_path / "run")
    waves = {wave: {spec.key: spec for spec in river._wave(wave).roles} for wave in (PREDICTING, COUNTING, ANSWERING)}
    assert set(waves[ANSWERING]) == {*(role.name for role in ROLES if role.wave == ANSWERING), "trainer-next"}
    further = waves[ANSWERING]["trainer-next"]
    assert (further.module, further.role) == ("services.trainer", "trainer")
    assert further.args[-2:] == ["--model", "next"]
    assert "--model" not in waves[PREDICTING]["trainer"].args
    alone = PipelineRun(write_toy(tmp_path / "alone"), tmp_path / "run")
    assert [len(alone._wave(wave).roles) for wave in waves] == [sum(r.wave == wave for r in ROLES) for wave in waves]


def test_the_roles_that_run_rules_are_started_where_there_are_rules(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    without = PipelineRun(folder, tmp_path / "run")
    assert not {"rules", "train"} & {spec.name for spec in without._wave(BESIDE).roles}
    with (folder / "pipeline.yaml").open("a") as file:
        file.write("rules: [{name: retrain, when: [{call: true}], steps: [{train: {}}]}]\n")
    assert {"rules", "train"} <= {spec.name for spec in PipelineRun(folder, tmp_path / "other")._wave(BESIDE).roles}
