"""Compile proto/ into headrace/contracts. Run by `make proto`; tests/contracts fails when the result is out of date."""

import os
import re
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
PACKAGE = "headrace.contracts"


def compile_into(out: Path) -> list[Path]:
    """Compile every .proto flat into `out` (messages, stubs and type stubs) and return the files written."""
    # protoc looks its plugins up on the PATH: they are installed beside the interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    written: list[Path] = []
    for source in sorted(ROOT.rglob("*.proto")):
        arguments = [
            "protoc",
            f"--proto_path={source.parent}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            str(source),
        ]
        if re.search(r"^service ", source.read_text(), re.MULTILINE):
            arguments[3:3] = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc could not compile {source}")
        written += [_absolute_imports(path) for path in sorted(out.glob(f"{source.stem}_pb2*"))]
    return written


def _absolute_imports(path: Path) -> Path:
    """Generated modules import one another by bare name; make that the package's."""
    text = path.read_text()
    text = re.sub(r"^import (\w+_pb2)", rf"from {PACKAGE} import \1", text, flags=re.MULTILINE)
    path.write_text(text)
    return path


if __name__ == "__main__":
    for file in compile_into(ROOT.parent / "headrace" / "contracts"):
        print(file.relative_to(ROOT.parent))
