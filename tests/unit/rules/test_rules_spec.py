"""`rules:` of pipeline.yaml: what is wrong is named with file, line and field."""

from pathlib import Path

import pytest

from headrace.model.spec_file import load_spec
from headrace.rules import describe
from headrace.runtime.errors import PipelineError

HEAD = """name: line
model: model.py:Line
models:
  - {name: wide, model: model.py:Wide, role: shadow}
  - {name: twin, model: model.py:Line, role: shadow}
rules:
"""
BEGIN = "  - name: a\n    when: [{call: true}]\n    steps:\n"
STEPS = "    steps: [{train: {}}, {deploy: {as: full}}]\n"


def wrong(folder: Path, rules: str) -> str:
    (folder / "pipeline.yaml").write_text(HEAD + rules)
    with pytest.raises(PipelineError) as raised:
        load_spec(folder)
    return str(raised.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("  - name: a\n    when: [{call: true}]\n    steps: []\n", "9: rules.0.steps: Tuple should have at least 1"),
        ("  - name: a\n    when: []\n" + STEPS, "8: rules.0.when: Tuple should have at least 1"),
        (
            "  - name: a\n    when:\n      - {call: true, labels: 3}\n" + STEPS,
            "9: rules.0.when.0: expected exactly one of alert, error, dataset, schedule, labels, call; there is labels",
        ),
        ("  - name: a\n    when:\n      - {schedule: {cron: '61 * * * *'}}\n" + STEPS, "'61 * * * *' is no schedule"),
        (
            "  - name: a\n    when:\n      - {schedule: {cron: '0 3 * * *', zone: Mars}}\n" + STEPS,
            "no time zone 'Mars'",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - train: {}\n      - optimize: {bits: 8}\n",
            "11: rules.0.steps.1.optimize: optimize: Headrace has no optimizer yet",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - optimise: {}\n",
            "10: rules.0.steps.0.optimise: Extra inputs are not permitted",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - evaluate: {}\n",
            "10: rules.0.steps.0.evaluate: evaluate is about what a step before it trained: there is none",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - train: {}\n      - gate: {champion: 1}\n",
            "11: rules.0.steps.1.gate.champion: compares with what serves",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - train: {}\n      - deploy: {as: canary}\n",
            "11: rules.0.steps.1.deploy.as: a canary goes on until a later step deploys as `full`: there is none",
        ),
        (
            BEGIN + "      - train: {}\n      - deploy: {as: shadow, model: x}\n",
            "11: rules.0.steps.1.deploy.model: 'x' is no shadow in `models`: there are twin, wide",
        ),
        (
            BEGIN + "      - train: {}\n      - deploy: {as: shadow, model: wide}\n",
            "'wide' is a model.py:Wide, what was trained is a model.py:Line",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - train: {model: none}\n",
            "rules.0.steps.0.train.model: there is no model 'none' in `models`: there are wide, twin",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - train: {}\n      - gate: {}\n",
            "11: rules.0.steps.1.gate: expected a criterion",
        ),
        (
            "  - name: a\n    when: [{labels: 5}]\n    steps:\n      - train: {data: {datasets: [trigger]}}\n",
            "10: rules.0.steps.0.train.data.datasets: `trigger` is the data set that began the run: no condition is",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n" + STEPS + "  - name: a\n    when: [{call: true}]\n" + STEPS,
            "10: rules.1.name: two rules have the name 'a': each needs its own",
        ),
        (
            "  - name: a\n    when: [{call: true}]\n    steps:\n      - train: {tuned: true}\n",
            "rules.0.steps.0.train.tuned: takes the settings of a `tune` before it: there is none",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(tmp_path: Path, rules: str, said: str) -> None:
    assert said in wrong(tmp_path, rules)


def test_a_rule_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        HEAD
        + "  - name: a\n    when: [{alert: {name: 'drift*', severity: critical}}, {error: {above: 12, for_s: 60}}]\n"
        + "    steps:\n      - train: {epochs: 2, data: {topic: {last_s: 3600}}}\n      - evaluate: {}\n"
        + "      - gate: {champion: 1, at_least: {accuracy: 0.8}}\n"
        + "      - deploy: {as: canary, share: 0.2, for_s: 600}\n"
        + "      - {deploy: {as: full}, approve: true, name: everywhere}\n"
    )
    (rule,) = load_spec(tmp_path).rules
    assert [describe.condition(when) for when in rule.when] == [
        "alert drift*, critical or worse", "error above 12 for 60 s",
    ]  # fmt: skip
    assert [describe.step(step) for step in rule.steps] == [
        "train on the examples topic, the last 3600 s to latest, 2 epochs",
        "evaluate against the version that serves, on the training's test part",
        "gate: error at most 1 × what serves, accuracy at least 0.8",
        "deploy on 20% of the workers for 600 s",
        "everywhere: after a person's approval: deploy on all workers",
    ]
