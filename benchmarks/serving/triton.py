"""A Triton Inference Server from the wheel that `make triton` takes, with a repository of the task's model."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from benchmarks.serving.requests import MODEL, ONE_TENSOR
from benchmarks.serving.task.network import FEATURES

WHEEL = Path(os.environ.get("TRITON_WHEEL", "build/triton/wheel"))
ENVIRONMENT = Path("build/peers/triton/bin")
MAX_BATCH = 4096
_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
dynamic_batching {{ }}
input [ {inputs} ]
output [ {{ name: "prediction" data_type: TYPE_FP64 dims: [ 1 ] }} ]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
parameters {{ key: "code" value: {{ string_value: "{code}" }} }}
parameters {{ key: "weights" value: {{ string_value: "{weights}" }} }}
"""


def absent() -> str:
    """Why Triton cannot be run here."""
    missing = next((path for path in (_server(), ENVIRONMENT) if not path.exists()), None)
    return f"{missing} is not there; make bench-serving installs it" if missing else ""


def _server() -> Path:
    return WHEEL / "pytriton" / "tritonserver"


def write_repository(folder: Path, code: Path, weights: Path, instances: int, *, one_tensor: bool) -> None:
    """The one model, with twelve inputs of one column or one of twelve."""
    inputs = {"x": len(FEATURES)} if one_tensor else dict.fromkeys(FEATURES, 1)
    name = ONE_TENSOR if one_tensor else MODEL
    version = folder / "repository" / name / "1"
    version.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "peers" / "triton_model.py", version / "model.py")
    listed = ", ".join(f'{{ name: "{i}" data_type: TYPE_FP64 dims: [ {n} ] }}' for i, n in inputs.items())
    config = _CONFIG.format(
        name=name, max_batch=MAX_BATCH, inputs=listed, instances=instances, code=code, weights=weights
    )
    (version.parent / "config.pbtxt").write_text(config)


def command(folder: Path, grpc: int, rest: int) -> tuple[list[str], dict[str, str]]:
    """The command line, and what the environment must have."""
    backends, stubs = folder / "backends", _server() / "python_backend_stubs"
    shutil.copytree(_server() / "backends", backends)
    stub = stubs / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    binary = (_server() / "bin" / "tritonserver").absolute()
    for program in (binary, backends / "python" / stub.name):
        program.chmod(0o755)
    line = [
        str(binary), f"--model-repository={folder / 'repository'}", f"--backend-directory={backends}",
        "--allow-metrics=false", "--http-address=127.0.0.1", f"--http-port={rest}", "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc}",
    ]  # fmt: skip
    libraries = f"{(WHEEL / 'nvidia_pytriton.libs').absolute()}:{sysconfig.get_config_var('LIBDIR')}"
    # The backend's interpreter takes the environment of the first python3 on the PATH as its own.
    return line, {"LD_LIBRARY_PATH": libraries, "PATH": f"{ENVIRONMENT.absolute()}:{os.environ['PATH']}"}
