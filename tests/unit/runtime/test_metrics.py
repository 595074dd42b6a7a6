"""Every role's /metrics passes the checks of `promtool check metrics`.

The checks are those of client_golang's promlint, written anew over the parsed text; where promtool itself is on the
PATH, it is asked too. All metrics are looked at, not those alone that one process happens to show: a process of its own
imports every metrics.py and gives each labelled metric one child.
"""

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import headrace
from headrace.launch.roles import ROLES

ROOT = Path(headrace.__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "services").rglob("metrics.py")
)

SHOW_ALL = textwrap.dedent("""
    import importlib, sys
    from prometheus_client import REGISTRY, generate_latest
    from prometheus_client.metrics import MetricWrapperBase
    for name in ["headrace.runtime.metrics", *sys.argv[1:]]:
        for metric in vars(importlib.import_module(name)).values():
            if isinstance(metric, MetricWrapperBase) and metric._labelnames:
                metric.labels(*metric._labelnames)
    from services.inference.rpc.metrics import ProtocolCollector
    from services.inference.rpc.statistics import Statistics
    ProtocolCollector(lambda: [("model", Statistics())])
    sys.stdout.buffer.write(generate_latest(REGISTRY))
""")

_BASE = "amperes|bytes|celsius|grams|joules|kelvin|meters|metres|seconds|volts"
_PREFIX = "pico|nano|micro|milli|centi|deci|deca|hecto|kilo|kibi|mega|mebi|giga|gibi|tera|tebi|peta|pebi"
_OTHER = "minutes|hours|days|weeks|kelvins|fahrenheit|rankine|inches|yards|miles|bits|calories|pounds|ounces"
NO_BASE_UNIT = re.compile(f"(?:{_PREFIX})(?:{_BASE}|{_OTHER})|{_OTHER}")
ABBREVIATION = re.compile("s|ms|us|ns|sec|b|kb|mb|gb|tb|pb|m|h|d")
RESERVED = {"_bucket": {"histogram"}, "_count": {"histogram", "summary"}, "_sum": {"histogram", "summary"}}
LABELS = {"le": "histogram", "quantile": "summary"}
PROTOCOL = re.compile(r"nv_\w+_us")
"""Names that dashboards of the Open Inference Protocol read; promtool would have their unit in seconds."""


def problems(text: str) -> list[tuple[str, str]]:
    """(metric, what promlint has against it)."""
    declared = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    return [
        (name, problem)
        for family in text_string_to_metric_families(text)
        for name in [family.name if family.name in declared else f"{family.name}_total"]  # a counter's, to the parser
        for problem in [*of_name(name, family.type), *of_family(family)]
    ]


def of_name(name: str, kind: str) -> Iterator[str]:
    words = name.split("_")
    if name.endswith("_total") != (kind == "counter") and kind != "unknown":
        yield "counters, and nothing else, end in _total"
    if kind != "unknown" and kind in words[1:]:
        yield f"the type {kind} in the name"
    if any(map(NO_BASE_UNIT.fullmatch, words)):
        yield "a unit that is no base unit"
    if any(map(ABBREVIATION.fullmatch, words[1:])):
        yield "an abbreviated unit"
    if ":" in name or re.search("[a-z][A-Z]", name):
        yield "not snake_case"
    for suffix, kinds in RESERVED.items():
        if name.endswith(suffix) and kind not in {*kinds, "unknown"}:
            yield f"{suffix} is reserved"


def of_family(family: Metric) -> Iterator[str]:
    if not family.documentation.strip():
        yield "no help text"
    labels = {label for sample in family.samples for label in sample.labels}
    for label, kind in LABELS.items():
        if label in labels and family.type not in {kind, "unknown"}:
            yield f"the label {label} is for a {kind}"
    if any(re.search("[a-z][A-Z]", label) for label in labels):
        yield "a label that is not snake_case"
    seen = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
    if len(seen) != len(set(seen)):
        yield "not unique"


@pytest.fixture(scope="module")
def exposed() -> str:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ALL, *MODULES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_every_role_has_its_metrics_module() -> None:
    assert {f"{role.module}.metrics" for role in ROLES} <= set(MODULES)


def test_every_metric_passes(exposed: str) -> None:
    found = [(name, problem) for name, problem in problems(exposed) if not PROTOCOL.fullmatch(name)]
    assert found == []


def test_the_protocols_names_have_no_other_problem_than_their_unit(exposed: str) -> None:
    found = {(name, problem) for name, problem in problems(exposed) if PROTOCOL.fullmatch(name)}
    assert {problem for _, problem in found} == {"an abbreviated unit"}


def test_names_say_whose_they_are_and_durations_are_histograms(exposed: str) -> None:
    families = [f for f in text_string_to_metric_families(exposed) if f.name.startswith("headrace_")]
    assert len(families) > 100
    for family in families:
        if family.name.endswith("_seconds"):
            assert family.type == "histogram", f"{family.name} cannot be added up over processes"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the PATH")
def test_promtool_agrees(exposed: str) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=exposed, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not PROTOCOL.match(line)]
    assert said == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# HELP a x\n# TYPE a gauge\na{quantile=\"0.5\"} 1\n", "the label quantile is for a summary"),
        ("# HELP a x\n# TYPE a gauge\na{le=\"1\"} 1\n", "the label le is for a histogram"),
        ("# TYPE a gauge\na 1\n", "no help text"),
        ("# HELP a x\n# TYPE a counter\na 1\n", "counters, and nothing else, end in _total"),
        ("# HELP a_total x\n# TYPE a_total gauge\na_total 1\n", "counters, and nothing else, end in _total"),
        ("# HELP a_milliseconds x\n# TYPE a_milliseconds gauge\na_milliseconds 1\n", "a unit that is no base unit"),
        ("# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n", "an abbreviated unit"),
        ("# HELP a_gauge x\n# TYPE a_gauge gauge\na_gauge 1\n", "the type gauge in the name"),
        ("# HELP aB x\n# TYPE aB gauge\naB 1\n", "not snake_case"),
        ("# HELP a_count x\n# TYPE a_count gauge\na_count 1\n", "_count is reserved"),
        ("# HELP a x\n# TYPE a gauge\na{b=\"1\"} 1\na{b=\"1\"} 2\n", "not unique"),
    ],
)  # fmt: skip
def test_a_bad_metric_is_found(text: str, problem: str) -> None:
    assert problem in [found for _, found in problems(text)]


def test_a_good_metric_is_left_alone() -> None:
    head = "# HELP a_seconds x\n# TYPE a_seconds histogram\n"
    good = head + 'a_seconds_bucket{le="+Inf"} 1\na_seconds_count 1\na_seconds_sum 1\n'
    assert problems(good) == []
