"""Compile proto/ into headrace/contracts. Run by `make proto`; tests/contracts fails when the result is out of date."""

import os
import re
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
PACKAGE = "headrace.contracts"
PRIVATE = {"inference": "oip"}
"""Folders of proto/ that become a subpackage with a descriptor pool of its own, and the subpackage. Other libraries
bring their own copy of the same messages into the process's default pool."""


def compile_into(out: Path) -> list[Path]:
    """Compile every .proto into `out` (messages, stubs and type stubs) and return the files written."""
    # protoc looks its plugins up on the PATH: they are installed beside the interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return [path for source in sorted(ROOT.rglob("*.proto")) for path in _compile(source, out)]


def _compile(source: Path, out: Path) -> list[Path]:
    """Compile one file: flat into `out`, or into its private subpackage."""
    private = PRIVATE.get(source.parent.name)
    package = f"{PACKAGE}.{private}" if private else PACKAGE
    folder = out / private if private else out
    folder.mkdir(exist_ok=True)
    arguments = [
        "protoc",
        f"--proto_path={source.parent}",
        f"--python_out={folder}",
        f"--mypy_out=quiet:{folder}",
        str(source),
    ]
    if re.search(r"^service ", source.read_text(), re.MULTILINE):
        arguments[3:3] = [f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}"]
    if protoc.main(arguments) != 0:
        sys.exit(f"protoc could not compile {source}")
    written = sorted(folder.glob(f"{source.stem}_pb2*"))
    for path in written:
        _absolute_imports(path, package)
        if private:
            _private_pool(path, package)
    return written


def _absolute_imports(path: Path, package: str) -> None:
    """Generated modules import one another by bare name; make that the package's."""
    text = path.read_text()
    text = re.sub(r"^import (\w+_pb2)", rf"from {package} import \1", text, flags=re.MULTILINE)
    path.write_text(text)


def _private_pool(path: Path, package: str) -> None:
    """Generated modules register their messages in the process's default pool; make that the package's POOL."""
    text = path.read_text()
    text = text.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool\n", f"from {package} import POOL\n"
    )
    path.write_text(text.replace("_descriptor_pool.Default()", "POOL"))


if __name__ == "__main__":
    for file in compile_into(ROOT.parent / "headrace" / "contracts"):
        print(file.relative_to(ROOT.parent))
