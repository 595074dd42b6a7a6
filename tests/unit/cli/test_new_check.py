"""`headrace new` writes a pipeline that `headrace check` passes; every way to break one is found, and said where."""

import re
from itertools import islice
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks.learning.progressive import progressive
from headrace.cli.commands.check import check
from headrace.cli.commands.new import new
from headrace.model.pipeline import load_pipeline
from headrace.model.template import DESCRIPTIONS, write_pipeline
from headrace.runtime.errors import ConfigError

runner = CliRunner()
app = typer.Typer()
app.command("new")(new)
app.command("check")(check)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pipeline("mine", tmp_path)


def edit(file: Path, old: str, new: str) -> int:
    """Replace `old` and return the line it was on."""
    text = file.read_text()
    assert text.count(old) >= 1, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def checked(folder: Path, *flags: str) -> tuple[int, str]:
    result = runner.invoke(app, ["check", str(folder), *flags])
    return result.exit_code, result.output


@pytest.mark.parametrize("task", DESCRIPTIONS)
def test_a_new_pipeline_of_each_task_passes_and_learns_what_its_baselines_cannot(task: str, tmp_path: Path) -> None:
    """On its own generated data, each event predicted before its label came."""
    written = runner.invoke(app, ["new", "mine", "--task", task, "--in", str(tmp_path)])
    assert written.exit_code == 0, written.output
    code, output = checked(tmp_path / "mine")
    assert code == 0, output
    pipeline = load_pipeline(tmp_path / "mine")
    assert pipeline.spec.task == pipeline.model.judge.task.name == task
    errors = progressive(pipeline, islice(pipeline.source().replay(), 20_000), lag=500)
    late = {name: errors.mean(name, start=5000) for name in errors.by_name}
    best = min(error for name, error in late.items() if name != "model")
    assert late["model"] < 0.95 * best, late


def test_a_new_pipeline_of_a_task_that_there_is_not_is_refused(tmp_path: Path) -> None:
    result = runner.invoke(app, ["new", "mine", "--task", "guess", "--in", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "multilabel" in str(result.exception.hint)


def test_predictions_without_the_form_of_the_task_are_found(tmp_path: Path) -> None:
    folder = write_pipeline("mine", tmp_path, "binary")
    edit(folder / "model.py", "torch.sigmoid(outputs.double()).tolist()", "(outputs.double() + 7).tolist()")
    code, output = checked(folder)
    assert code == 2
    assert "task binary: the prediction is" in output
    assert "expected a probability from 0 to 1" in output


def test_a_new_pipeline_passes(tmp_path: Path) -> None:
    result = runner.invoke(app, ["new", "ticket-prices", "--in", str(tmp_path)])
    assert result.exit_code == 0, result.output
    code, output = checked(tmp_path / "ticket-prices")
    assert code == 0, output
    assert "✗" not in output
    assert output.count("✓") == 12
    for file in ("pipeline.yaml", "model.py", "source.py", "README.md"):
        assert "{name}" not in (tmp_path / "ticket-prices" / file).read_text()


def test_further_models_go_through_the_same_checks(folder: Path) -> None:
    code, output = checked(folder)
    section = "models:\n  - {name: two, model: two.py:Two, role: shadow}\n"
    (folder / "pipeline.yaml").write_text((folder / "pipeline.yaml").read_text() + section)
    (folder / "two.py").write_text("from .model import MachineHeat\n\nclass Two(MachineHeat):\n    pass\n")
    code, output = checked(folder)
    assert code == 0, output
    assert re.search(r"✓ mine.two .*shadow, Two: the same 10 checks", output), output
    (folder / "two.py").write_text(
        (folder / "two.py").read_text().replace("pass", "def loss(self, outputs, labels): return 1.0")
    )
    fresh = folder.rename(folder.with_name("afresh"))  # a folder's modules are imported once
    code, output = checked(fresh)
    assert code == 2
    assert re.search(r"✗ mine.two .*loss and training: loss returned float, expected a scalar tensor", output), output


def test_new_refuses_a_bad_name_and_never_overwrites(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be a pipeline's name"):
        write_pipeline("Not A Name", tmp_path)
    write_pipeline("mine", tmp_path)
    (tmp_path / "mine" / "model.py").write_text("precious")
    with pytest.raises(ConfigError, match="is there already"):
        write_pipeline("mine", tmp_path)
    assert (tmp_path / "mine" / "model.py").read_text() == "precious"


def test_no_folder(tmp_path: Path) -> None:
    code, output = checked(tmp_path / "nowhere")
    assert code == 2
    assert "pipeline.yaml" in output


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("partitions: 4", "partitions: many", "topics.partitions"),
        ("batch_size: 64", "batch_size: 0", "training.batch_size"),
        ("learning_rate: 0.01", "learning_speed: 0.01", "training.learning_speed"),
        ("name: mine", "name: My Pipeline", "name"),
    ],
)
def test_pipeline_yaml_is_wrong(folder: Path, old: str, new: str, field: str) -> None:
    line = edit(folder / "pipeline.yaml", old, new)
    code, output = checked(folder)
    assert code == 2
    assert re.search(rf"pipeline\.yaml:{line}: {re.escape(field)}: ", output), output


LBFGS = """
    def optimizer(self, network, learning_rate):
        return torch.optim.LBFGS(network.parameters(), lr=learning_rate)
"""

# What is broken, in which file: the old text, the new text, and what the report says. {line} is the line of the old
# text.
BROKEN = {
    "model.py does not parse": (
        "model.py", "class Reading(msgspec.Struct):", "class Reading(msgspec.Struct", r"model\.py:\d+: SyntaxError",
    ),
    "an import fails": (
        "model.py", "import msgspec\n", "import no_such_module\n", r"model\.py:{line}: ModuleNotFoundError",
    ),
    "no such class": ("model.py", "class MachineHeat(", "class Machine(", "no class MachineHeat"),
    "the key is no field": ("model.py", 'key = "reading_id"', 'key = "id"', "key 'id' is not a field of Reading"),
    "the source raises": ("source.py", "now = START + i / 10", "now = 1 / 0", r"source\.py:{line}: ZeroDivisionError"),
    "time runs backwards": (
        "source.py", "START + i / 10", "START - i / 10", "record 2 is at .*, before the one in front",
    ),
    "keys are not unique": (
        "source.py", 'reading = Reading(f"r{i}"', 'reading = Reading("r"', "two events have the reading_id 'r'",
    ),
    "a label has no event": (
        "source.py", 'Outcome(f"r{i}"', 'Outcome(f"x{i}"', "a label with the reading_id 'x0' comes before",
    ),
    "labels never come": ("source.py", "DELAY = 60.0", "DELAY = 1e9", "no label among the first 20,000 records"),
    "a field has the wrong type": ("source.py", "round(load, 3)", "str(load)", "Expected `float`, got `str`"),
    "features raise": ("model.py", "r.load - 0.5", "r.load - r.gone", r"model\.py:\d+: AttributeError: .*gone"),
    "features lose a row": (
        "model.py", "for r in readings\n", "for r in readings[1:]\n", r"features has shape \[31, 4\] for 32 events",
    ),
    "features are not finite": ("model.py", "r.load - 0.5", 'r.load * float("inf")', r"features holds (inf|nan) at"),
    "features depend on the batch": (
        "model.py", "torch.tensor(rows, dtype=torch.float32)", "torch.tensor(rows).sub(torch.tensor(rows).mean(0))",
        "features of an event differ",
    ),
    "features are no tensor": (
        "model.py", "return torch.tensor(rows, dtype=torch.float32)", "return rows", "returned a list",
    ),
    "shapes do not fit": ("model.py", "nn.Linear(4, 32)", "nn.Linear(5, 32)", "RuntimeError: .*mat1 and mat2"),
    "the network is not always the same": (
        "model.py", "nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 1)",
        "nn.Linear(4, h := int(torch.randint(9, 10**9, ()) % 10**6)), nn.Linear(h, 1)",
        r"two calls of network\(\) differ",
    ),
    "the network mixes rows": (
        "model.py", "nn.Flatten(0)", "nn.Flatten(0), nn.Softmax(0)", "depends on the other events",
    ),
    "too few predictions": (
        "model.py", "(outputs + 2) * 25).tolist()", "(outputs + 2) * 25).tolist()[1:]", "31 values for 32",
    ),
    "predictions are tensors": ("model.py", ".tolist()", "", "Return|return Python values"),
    "predictions are of another type": ("model.py", "-> Sequence[float]", "-> Sequence[str]", "Expected `str`"),
    "errors are not numbers": (
        "model.py", "return abs(temperature - outcome.temperature)", 'return float("nan")', "error is nan",
    ),
    "the loss is no scalar": ("model.py", "beta=0.1)", 'beta=0.1, reduction="none")', r"loss returned shape \[32\]"),
    "the loss is not finite": ("model.py", "outputs, measured, beta", "outputs / 0, measured, beta", "the loss holds"),
    "the loss has no gradient": (
        "model.py", "outputs, measured, beta", "outputs.detach(), measured, beta", "has no gradient",
    ),
    "the optimizer needs a closure": (
        "model.py", 'error_unit = "°C"\n', 'error_unit = "°C"\n' + LBFGS, "the step of LBFGS needs a closure",
    ),
    "a record that no label is for has NaN": (
        "source.py", "round(load, 3)", 'round(load, 3) if i != 500 else float("nan")',
        r"record 501, Reading\.load: nan, expected a finite number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_promise_is_found_and_named(folder: Path, case: str) -> None:
    file, old, new, report = BROKEN[case]
    line = edit(folder / file, old, new)
    code, output = checked(folder)
    assert code == 2, output
    assert output.count("✗") == 1
    assert re.search(report.replace("{line}", str(line)), output), output


FORGETFUL = """

class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.seen = 0.0

    def forward(self, x):
        if self.training:
            self.seen += 1.0
        return self.layer(x)[:, 0] + self.seen
"""


def test_weights_that_are_not_in_the_state_dict_are_found(folder: Path) -> None:
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(re.sub(r"return nn\.Sequential\(.*\)", "return Forgetful()", text) + FORGETFUL)
    code, output = checked(folder)
    assert code == 2
    assert "not in state_dict()" in output


def test_files_stand_in_for_a_source(folder: Path, tmp_path: Path) -> None:
    edit(folder / "pipeline.yaml", "source: source.py:Machines", "# no source: source.py:Machines")
    code, output = checked(folder)
    assert code == 2
    assert "give --events and --labels" in output
    events, labels = tmp_path / "events.csv", tmp_path / "labels.csv"
    events.write_text("reading_id,load,ambient,temperature\n" + "".join(f"r{i},0.{i},20,{40 + i}\n" for i in range(9)))
    labels.write_text("reading_id,temperature\n" + "".join(f"r{i},{41 + i}\n" for i in range(9)))
    code, output = checked(folder, "--events", str(events), "--labels", str(labels))
    assert code == 0, output
    labels.write_text("reading_id,temperature\nr0,warm\n")
    code, output = checked(folder, "--events", str(events), "--labels", str(labels))
    assert code == 2
    assert "labels.csv:2: temperature: Expected `float`, got 'warm'" in output


def test_files_with_bad_numbers_and_other_separators_are_refused_by_line_and_field(
    folder: Path, tmp_path: Path
) -> None:
    events, labels = tmp_path / "events.csv", tmp_path / "labels.csv"
    rows = "".join(f"r{i};0.5;20\n" for i in range(40))
    events.write_text(f"reading_id;load;ambient\n{rows}")
    labels.write_text("reading_id;temperature\n" + "".join(f"r{i};41\n" for i in range(40)) + "r1;nan\n")
    code, output = checked(folder, "--events", str(events), "--labels", str(labels), "--delimiter", ";")
    assert code == 2
    assert "labels.csv:42: temperature: nan, expected a finite number" in output, "behind the last one that is needed"
    labels.write_text("reading_id;temperature\n" + "".join(f"r{i};41\n" for i in range(40)))
    code, output = checked(folder, "--events", str(events), "--labels", str(labels), "--delimiter", ";")
    assert code == 0, output
    assert "32 labelled events among the first 80 records" in output
    result = runner.invoke(app, ["check", str(folder), "--events", str(events)])
    assert isinstance(result.exception, ConfigError)
    assert result.exception.hint == "are columns separated by ';'? --delimiter ';'"


def test_checking_leaves_no_trace_in_torch(folder: Path) -> None:
    """The dry run changes neither the number of threads nor the default type."""
    before = torch.get_num_threads(), torch.get_default_dtype()
    checked(folder)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before
