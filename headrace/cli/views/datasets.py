"""Data sets, for people."""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from headrace.cli.views.formats import counted, number
from headrace.model.source import BadRow

if TYPE_CHECKING:
    from headrace.datasets.importing.job import Summary
    from headrace.datasets.manifest import Manifest
    from headrace.datasets.profiling.profile import SetProfile

_SHOWN_BAD = 20
_LONGEST = 40


def sets_table(found: "Sequence[tuple[Manifest, list[int]]]") -> Table:
    """Sets by their newest versions."""
    heads = ("set", "versions", "rows", "columns", "size", "from", "holds", "made")
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None, pad_edge=False)
    for one, versions in found:
        table.add_row(
            one.set, str(len(versions)), f"{one.rows:,}", str(len(one.columns)), _size(one.size), one.source.kind,
            one.holds or "-", _time(one.created_us),
        )  # fmt: skip
    return table


def manifest_view(one: "Manifest", versions: Sequence[int], console: Console) -> None:
    """One version."""
    console.print(Text.assemble((one.set, "bold"), f", {counted(one.rows, 'row')}, {_size(one.size)}"))
    facts = {
        "made": _time(one.created_us), "digest": one.digest, "versions": ", ".join(map(str, versions[-20:])),
        "from": _source(one), "parents": ", ".join(one.parents),
        "holds": one.holds, "key": one.key, "time": one.time, "label time": one.label_time,
        "range": " to ".join(one.time_range), "encoding": one.encoding,
        "left out": f"{counted(one.bad_rows, 'row')} that did not fit" if one.bad_rows else "",
        **one.metadata,
    }  # fmt: skip
    for name, text in facts.items():
        if text:
            console.print(f"  {name:<11}{text}", markup=False, soft_wrap=True)
    table = Table(*(Column(head) for head in ("column", "type", "missing", "min", "max")), box=None, pad_edge=False)
    for column in one.columns:
        table.add_row(
            column.name,
            column.type,
            f"{column.missing:,}" if column.missing else "-",
            _cut(column.min),
            _cut(column.max),
        )
    console.print(table)
    for file in one.files:
        console.print(
            f"  {file.path}  {counted(file.rows, 'row')}, {_size(file.size)}, sha256 {file.sha256}", soft_wrap=True
        )


def _source(one: "Manifest") -> str:
    return f"{one.source.kind} {msgspec.json.encode(one.source.details).decode()}"


def rows_table(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> Table:
    """Some rows."""
    table = Table(*(Column(Text(name).plain, no_wrap=True) for name in names), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_cut(row.get(name))) for name in names))
    return table


def profile_table(profile: "SetProfile") -> Table:
    """A line a column, with a small histogram; drift where there is a reference."""
    heads = ["column", "type", "missing", "different", "min", "median", "max", "mean", "distribution"]
    heads += [f"PSI to {profile.against}", "KS"] if profile.against else []
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None, pad_edge=False)
    for one in profile.columns:
        share = one.missing / one.rows if one.rows else 0.0
        drift = [number(one.drift.get(name)) if one.drift else "-" for name in ("psi", "ks")] if profile.against else []
        median = number(one.quantiles.get("0.5")) if one.kind == "numeric" else "-"
        picture = _bars(one.histogram.counts) if one.histogram else ", ".join(
            f"{_cut(top.value, 12)} {top.count / max(1, one.rows):.0%}" for top in one.top[:3]
        )  # fmt: skip
        table.add_row(
            one.name, one.type, f"{share:.1%}" if one.missing else "-", f"{one.distinct:,}", _cut(one.min), median,
            _cut(one.max), number(one.mean) if one.kind == "numeric" else "-", Text(picture), *drift,
        )  # fmt: skip
    return table


def summary_view(summary: "Summary", *, as_json: bool) -> None:
    """What an import made."""
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode())
        return
    for name, rows in summary.rows.items():
        typer.echo(f"{name}: {counted(rows, 'row')}, in {summary.seconds:.1f} s")
    if summary.bad_rows:
        typer.echo(f"{counted(summary.bad_rows, 'row')} left out that did not fit", err=True)
    if summary.left_out:
        typer.echo(f"{counted(summary.left_out, 'row')} in no part, so that nothing leaks between them", err=True)


class ImportView:
    """Shows how an import goes on, on standard error; see `headrace.datasets.importing.telling.Observer`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("starting ...")
        self._phase, self._total, self._done = "", 0, 0

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def phase(self, name: str, total: int) -> None:
        """See `Observer.phase`."""
        self._phase, self._total, self._done = name, total, 0
        self._status.update(f"{name} ...")

    def rows(self, count: int) -> None:
        """See `Observer.rows`."""
        self._done += count
        of = f" of {self._total:,}" if self._total else ""
        self._status.update(f"{self._phase}: {self._done:,}{of} rows")

    def bad(self, row: BadRow, count: int) -> None:
        """See `Observer.bad`."""
        if count <= _SHOWN_BAD:
            self._console.print(str(row), markup=False, soft_wrap=True)
        elif count == _SHOWN_BAD + 1:
            self._console.print("... further rows that do not fit are not shown (--rejected FILE has them)")


def _bars(counts: Sequence[int]) -> str:
    most, step = max(counts, default=0), max(1, len(counts) // 20)
    summed = [sum(counts[i : i + step]) for i in range(0, len(counts), step)]
    most = max(summed, default=0)
    return "".join(" ▁▂▃▄▅▆▇█"[min(8, -(-8 * count // most))] if most else " " for count in summed)


def _cut(value: Any, longest: int = _LONGEST) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S")
