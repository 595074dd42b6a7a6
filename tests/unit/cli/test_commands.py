"""The command line: quick to answer, complete in its help, readable in its errors."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import headrace
from headrace.cli.catalogue import COMMANDS, Command, application
from headrace.launch.roles import ROLES, role
from headrace.runtime.errors import ConfigError

HEAVY = {"torch", "faust", "grpc", "numpy", "confluent_kafka", "fastapi", "pydantic"}
REPOSITORY = Path(headrace.__file__).parent.parent


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(application(), list(arguments), prog_name="headrace")


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_imports_nothing_heavy_and_no_command() -> None:
    loaded = modules_after(
        "from typer.testing import CliRunner\n"
        "from headrace.cli.catalogue import application\n"
        "assert CliRunner().invoke(application(), ['--help']).exit_code == 0"
    )
    assert not loaded & HEAVY
    assert {m for m in loaded if m.startswith("headrace.cli.")} == {"headrace.cli.catalogue"}


@pytest.mark.parametrize("name", ["demo", "up", "down", "status", "ckpt", "run", "topics", "platform"])
def test_these_commands_start_without_torch(name: str) -> None:
    loaded = modules_after(f"from headrace.cli.catalogue import imported\nimported({name!r})")
    assert not loaded & {"torch", "faust", "grpc", "fastapi"}


def test_help_lists_every_command_with_a_sentence() -> None:
    shown = plain(invoke("--help").output)
    for command in COMMANDS:
        assert f" {command.name} " in shown
        assert command.help.split(",")[0].split(":")[0] in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_every_command_is_there_and_its_help_has_an_example(command: Command) -> None:
    result = invoke(command.name, "-h")
    assert result.exit_code == 0, result.output
    shown = plain(result.output)
    if command.name != "platform":
        assert f"headrace {command.name}" in shown.split("For example", 1)[1]


def test_the_entry_point_is_this_command_line() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"headrace": "headrace.cli:main"}


def test_version() -> None:
    assert invoke("--version").output.strip() == f"headrace {headrace.__version__}"


def test_an_error_is_one_readable_line_with_a_hint_and_its_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "up", str(tmp_path)],
        capture_output=True, text=True, check=False, env={"HEADRACE_HOME": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    line, hint = done.stderr.strip().splitlines()
    assert line == f"headrace: {tmp_path}/pipeline.yaml: No such file or directory"
    assert hint.strip() == "→ headrace new NAME writes a pipeline folder"


def test_a_mistyped_command_is_told_what_it_may_have_been() -> None:
    result = invoke("stauts")
    assert result.exit_code == 2
    assert "status" in result.output


def test_every_role_is_a_service_that_can_be_run() -> None:
    assert {r.name for r in ROLES} == {
        "trainer", "stream", "coordinator", "agent", "join", "monitor", "ingest", "rpc", "gateway", "batch",
        "train", "triton-bridge", "archive",
    }  # fmt: skip
    for one in ROLES:
        assert role(one.name) is one
        assert (REPOSITORY / one.module.replace(".", "/") / "__main__.py").is_file(), one.module


def test_an_unknown_role_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match="one of: trainer, stream"):
        role("nope")


def test_run_becomes_the_role_and_hands_on_its_flags() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "run", "monitor", "--batch", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--batch" in done.stderr
