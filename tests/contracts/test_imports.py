"""Imports go one way: services → launch, replay, deadletters → streams, weights, model → runtime → contracts."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = {
    "contracts": 0,
    "runtime": 1,
    "evaluation": 1,
    "streams": 2,
    "weights": 2,
    "model": 2,
    "platform": 2,
    "rollouts": 2,
    "drift": 2,
    "alerts": 2,
    "jobs": 2,
    "rules": 2,
    "deadletters": 3,
    "client": 3,
    "launch": 3,
    "replay": 3,
    "batch": 3,
    "datasets": 3,
    "training": 3,
    "archive": 3,
    "tracking": 3,
    "security": 2,
    "cli": 4,
}
MODULES = sorted([*ROOT.glob("headrace/**/*.py"), *ROOT.glob("services/**/*.py")])


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {n for n in names if n.split(".")[0] in {"headrace", "services"}}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    package, *rest = path.relative_to(ROOT).parts
    for name in imported(path):
        parts = name.split(".")
        if package == "services":
            assert parts[0] == "headrace" or parts[1:2] in ([], [rest[0]]), f"imports another service: {name}"
            assert parts[:2] != ["headrace", "cli"], f"a service imports the command line: {name}"
        elif rest[0] in LAYER and len(parts) > 1:
            assert parts[0] == "headrace", f"imports a service: {name}"
            assert LAYER.get(parts[1], 0) <= LAYER[rest[0]], f"{rest[0]} imports {name}, which stands above it"


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    assert not [p for p in MODULES if {p.stem, p.parent.name} & {"common", "utils", "helpers", "util", "misc"}]


WEIGHTS = {
    "format": set[str](),
    "stores": {"format"},
    "publish": {"format", "stores"},
    "host": {"format", "stores"},
    "worker": {"format"},
}
"""Which parts of headrace.weights each part may import, beside itself."""
OWN_HOST = {"following.py", "subscribing.py"}
"""Of the worker's side: a client without an agent pulls by itself, as a host does."""
SIDES = {
    "services/trainer": {"format", "stores", "publish"},
    "services/inference": {"format", "worker"},
    "services/ckpt/agent": {"format", "stores", "host", "worker"},
    "services/monitor": {"format"},
}


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("headrace/weights/*/**/*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_a_side_of_the_weights_imports_what_it_uses_and_no_other_side(path: Path) -> None:
    part = path.relative_to(ROOT / "headrace/weights").parts[0]
    allowed = {part, *WEIGHTS[part]} | ({"host", "stores"} if path.name in OWN_HOST else set())
    assert {name for name in sides(path) if name not in allowed} == set()


@pytest.mark.parametrize("folder", sorted(SIDES))
def test_a_role_imports_its_own_side_of_the_weights(folder: str) -> None:
    found = {(path.name, side) for path in (ROOT / folder).rglob("*.py") for side in sides(path)}
    assert {(name, side) for name, side in found if side not in SIDES[folder]} == set()


def sides(path: Path) -> set[str]:
    """The parts of headrace.weights that a module imports; names taken from the package itself included."""
    from headrace.weights import _HOMES

    found = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[:2] == ["headrace", "weights"] and len(parts) > 2:
            found.add(_HOMES.get(parts[2], f"{parts[2]}.").split(".")[0])
    return found & WEIGHTS.keys()


@pytest.mark.parametrize("path", sorted(ROOT.glob("headrace/rollouts/*.py")), ids=lambda p: p.name)
def test_rollouts_know_of_weights_only_their_format_and_errors(path: Path) -> None:
    """So that whoever applies directives, a worker's follower among them, can stand above rollouts."""
    below = ("headrace.weights.format", "headrace.weights.errors")
    assert not [name for name in imported(path) if name.startswith("headrace.weights") and not name.startswith(below)]


def test_what_rollouts_stand_on_does_not_import_them() -> None:
    paths = [*ROOT.glob("headrace/weights/format/*.py"), ROOT / "headrace/weights/errors.py"]
    assert not [path for path in paths for name in imported(path) if name.startswith("headrace.rollouts")]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dependencies(sources: Mapping[str, Path]) -> dict[str, set[str]]:
    """By module, the modules that it imports, under TYPE_CHECKING and in functions too.

    `from package import name` depends on the submodule of that name where there is one, else on the package.
    """
    known = {name: imported(path) for name, path in sources.items()}
    return {
        module: {
            name if name in known else name.rpartition(".")[0]
            for name in names
            if not any(other in known and other.startswith(f"{name}.") for other in names)
        }
        & known.keys() - {module}
        for module, names in known.items()
    }


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import each other: strongly connected components of more than one, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for needed in sorted(graph[module]):
            if needed not in index:
                visit(needed)
            if needed in stack:
                low[module] = min(low[module], low[needed])
        if low[module] == index[module]:
            at = stack.index(module)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return [component for component in found if len(component) > 1]


def test_no_modules_import_each_other() -> None:
    sources = {module_name(path): path for path in MODULES}
    assert cycles(dependencies(sources)) == []


def test_cycles_are_found_whatever_their_length() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"d"}, "f": {"a"}}
    assert cycles(graph) == [["a", "b", "c"], ["d", "e"]]
