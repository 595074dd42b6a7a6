"""No role and no command shows a secret, whatever fails: each as a process of its own, with marked secrets.

Nothing answers at the addresses that they are given, so this needs no broker. The exceptions of the pipelines carry the
secrets in their messages, which is worse than what an author is likely to write.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.cli.catalogue import COMMANDS
from headrace.launch.roles import ROLES, role
from headrace.runtime.crashes import MOST_LINES
from headrace.runtime.errors import ExitCode
from tests.patience import WAIT_S

SECRETS = {
    "HEADRACE_KAFKA_CONFIG": '{"sasl.password": "MARK-1", "sasl.username": "u", "security.protocol": "PLAINTEXT"}',
    "REDIS_URL": "redis://:MARK-2@127.0.0.1:1/0",
    "HEADRACE_SIGNING_KEY": "MARK-3",
    "HEADRACE_GATEWAY_TOKEN": "MARK-4",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}
RAISE = f"raise KeyError('planned', [__import__('os').environ[name] for name in {sorted(SECRETS)}])"
RIDES = Path("examples/rides")

# Where each role fails: in model.py's import, in the model's constructor, in `network`, in pipeline.yaml, or at Kafka.
ROLE_FAILURES = [
    ("trainer", "import"), ("join", "import"), ("ingest", "constructor"), ("monitor", "constructor"),
    ("drift", "import"),
    ("stream", "network"), ("rpc", "network"), ("triton-bridge", "network"), ("gateway", "yaml"), ("batch", "yaml"),
    ("train", "yaml"), ("rules", "yaml"), ("archive", "yaml"),
    ("labelling", "import"),
    ("agent", "kafka"), ("coordinator", "kafka"), ("trainer", "kafka"), ("ingest", "kafka"),
]  # fmt: skip
EXIT_CODES = {
    "import": ExitCode.CONFIG, "constructor": ExitCode.CONFIG, "yaml": ExitCode.CONFIG,
    "network": ExitCode.INTERNAL, "kafka": ExitCode.DEPENDENCY,
}  # fmt: skip

COMMAND_LINES = {
    "demo": ["rides"],
    "up": ["{rides}"],
    "down": [],
    "new": ["Rides"],
    "check": ["{import}"],
    "produce": ["{rides}", "--limit", "1"],
    "predict": ["{rides}", "--event", "MARK-4"],
    "batch": ["{import}", "--input", "rides.jsonl", "--output", "y.jsonl", "--weights", "MARK-4"],
    "train": ["{import}", "--output", "{new}", "--source"],
    "tune": ["{import}", "--output", "{new}", "--source", "--space", "learning_rate=0.1..1"],
    "experiments": ["{rides}", "--track", "http://u:MARK-4@127.0.0.1:1"],
    "label": ["queues", "--url", "http://u:MARK-4@127.0.0.1:1"],
    "lineage": ["1"],
    "status": [],
    "drift": ["show", "--url", "http://u:MARK-4@127.0.0.1:1"],
    "alerts": ["list"],
    "tail": ["rides.events", "--kafka", "127.0.0.1:1"],
    "dlq": ["list"],
    "topics": [],
    "ckpt": ["status"],
    "rollback": ["rides"],
    "resume": ["rides"],
    "rules": ["list"],
    "acls": ["rides"],
    "keys": ["list"],
    "datasets": ["list"],
    "query": ["select 1", "--run-dir", "{new}"],
    "metrics": ["names", "--run-dir", "{new}"],
    "run": ["agent", "--pipeline", "{rides}", "--ops-port", "MARK-4"],
    "platform": ["up"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of a pipeline, each with a failure; by the failure's name."""
    made = {}
    for failure in {failure for _, failure in ROLE_FAILURES} | {"rides", "new"}:
        folder = made[failure] = tmp_path_factory.mktemp(failure) / "rides"
        if failure == "new":
            continue
        shutil.copytree(RIDES, folder)
        model = (folder / "model.py").read_text()
        if failure == "import":
            model += f"\n{RAISE}\n"
        if failure == "constructor":
            model = re.sub(r"(class \w+\(Model\[.*\]\):\n)", rf"\1    def __init__(self):\n        {RAISE}\n\n", model)
        if failure == "network":
            model = re.sub(r"(def network\(self\).*\n)", rf"\1        {RAISE}\n", model)
        if failure == "yaml":
            (folder / "pipeline.yaml").write_text("name: rides\nmodel: MARK-4 is a token of the gateway\n")
        (folder / "model.py").write_text(model)
    return made


def run(command: list[str], home: Path) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, **SECRETS, "HEADRACE_HOME": str(home), "HEADRACE_RUN_DIR": str(home), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip


Done = dict[tuple[str, str], "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def done(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """Every process, some of them at once: those that wait for Kafka first, which takes 15 s and no core."""
    home = tmp_path_factory.mktemp("home")
    repository = ["--repository", str(home)]
    lines: dict[tuple[str, str], list[str]] = {}
    for name, words in COMMAND_LINES.items():
        lines["command", name] = ["headrace", name, *(w.format(**folders) for w in words)]
    for style, (name, failure) in zip(["console", "json"] * len(ROLE_FAILURES), ROLE_FAILURES, strict=False):
        flags = ["--pipeline", str(folders[failure]), "--log-format", style, *repository * (name == "triton-bridge")]
        lines[name, failure] = [role(name).module, *flags]
    with ThreadPoolExecutor(12) as pool:
        last_first = sorted(lines, key=lambda which: "kafka" not in which and "command" not in which)
        yield {which: pool.submit(run, lines[which], home / "-".join(which)) for which in last_first}


def marks(process: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line for line in (process.stdout + process.stderr).splitlines() if "MARK" in line]


@pytest.mark.parametrize(("name", "failure"), ROLE_FAILURES)
def test_a_role_that_fails_shows_no_secret_and_says_why_in_a_few_lines(name: str, failure: str, done: Done) -> None:
    process = done[name, failure].result()
    assert marks(process) == []
    assert process.returncode == EXIT_CODES[failure], process.stderr
    wanted = {"kafka": "Kafka", "yaml": "pipeline.yaml"}.get(failure, "planned")
    lines = process.stderr.splitlines()
    if lines[0].startswith("{"):
        errors = [json.loads(line) for line in lines]
        assert wanted in str(errors[-1])
        assert len(errors) <= 8
        lines = errors[-1].get("exception", "").split("\n")
    else:
        assert any(wanted in line for line in lines)
    assert len(lines) <= MOST_LINES + 8


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_a_command_shows_no_secret(name: str, done: Done) -> None:
    process = done["command", name].result()
    assert marks(process) == []
    assert "Traceback" not in process.stderr
    assert process.returncode in {0, *ExitCode}, process.stderr
    assert process.returncode == 0 or process.stdout + process.stderr


def test_every_role_and_every_command_is_here() -> None:
    # `datasets` runs no pipeline's code, and goes on without Kafka: none of these failures ends it
    assert {name for name, _ in ROLE_FAILURES} == {one.name for one in ROLES} - {"datasets"}
    assert set(COMMAND_LINES) >= {one.name for one in COMMANDS}
