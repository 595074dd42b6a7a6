"""How drift looks to people: a table of columns, and one column's distribution then and now."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.table import Table
from rich.text import Text

from headrace.cli.views.formats import duration, number

STYLES = {"drifted": "bold red", "odd": "bold red", "learning": "cyan", "unsteady": "dim", "identifier": "dim"}
_BAR = 24


def drift_page(found: Mapping[str, Any]) -> Iterator[Table | Text]:
    """The whole of GET /v1/drift."""
    reference = found["reference"]
    what = "a reference file" if reference["kind"] == "file" else f"the first {reference['events']:,} events"
    if not reference["ready"]:
        what += f", of which {reference['learned']:,} have come"
    yield Text.assemble((found["pipeline"], "bold"), f": {found['counts']['events']:,} events, compared with {what}")
    yield column_table(found["columns"], found["windows"])
    yield _means(found)
    volume, latency = found["volume"], found["latency"]
    yield Text.assemble(
        "volume ", _state(volume["state"]), f" {number(volume['per_second'])} events/s, usual {number(volume['usual'])}"
    )
    usual = "-" if latency["usual_s"] is None else duration(latency["usual_s"])
    yield Text.assemble("latency ", _state(latency["state"]), f" p99 {duration(latency['p99_s'])}, usual {usual}")


def column_table(columns: Sequence[Mapping[str, Any]], windows: Mapping[str, int]) -> Table:
    """Distances and limits of every column; those over their limit are red."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    short, long = f"{windows['short']:,}", f"{windows['long']:,}"
    table.add_column("column")
    table.add_column("of")
    table.add_column("state")
    for head in (f"PSI {short}", f"PSI {long}", f"KS {short}", f"KS {long}", "moved", "missing", "outside"):
        table.add_column(head, justify="right")
    for one in columns:
        of = "events" if one["of"] == "input" else one["model"]
        cells = [_figure(one, "short", "psi"), _figure(one, "long", "psi")]
        cells += [_figure(one, "short", "ks"), _figure(one, "long", "ks"), _figure(one, "short", "wasserstein")]
        shares = [Text(f"{one[which]:.1%}" if one["windows"] else "-") for which in ("missing", "outside")]
        table.add_row(one["column"], of, _state(one["state"]), *cells, *shares)
    return table


def _figure(column: Mapping[str, Any], window: str, statistic: str) -> Text:
    figures = column["windows"].get(window)
    if figures is None or figures[statistic] is None:
        return Text("-", "dim")
    limit = figures.get(f"limit_{statistic}")
    if limit is None:
        return Text(f"{figures[statistic]:.2f}")
    style = "bold red" if figures[statistic] >= limit else ""
    return Text.assemble((f"{figures[statistic]:.3f}", style), (f" /{limit:.2f}", "dim"))


def _means(found: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("mean of", "model", "state", "recent", "usual", "limit"):
        table.add_column(head)
    for what, by_model in (("error", found["errors"]), ("prediction", found["scores"])):
        for model, mean in by_model.items():
            figures = [number(mean[which]) for which in ("recent", "usual", "limit")]
            table.add_row(what, model, _state(mean["state"]), *figures)
    return table


def column_page(columns: Sequence[Mapping[str, Any]]) -> Iterator[Table | Text]:
    """Columns of one name: shares of each bin in the reference and in the long window."""
    for one in columns:
        yield Text.assemble((one["column"], "bold"), f" of {one['of']} {one['model']}: ", _state(one["state"]))
        if one["reference"] is None:
            yield Text(f"{one['learned'] or 0:,} values of its reference have come", "dim")
            continue
        yield _histogram(one)


def _histogram(column: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("values", "reference", "", "now", ""):
        table.add_column(head)
    reference, now = column["reference"], column["now"]
    rows: list[tuple[str, int, int]] = list(zip(_bins(reference), reference["counts"], now["counts"], strict=True))
    rows += [
        ("below", reference["below"], now["below"]), ("above or unseen", reference["above"], now["above"]),
        ("missing", reference["missing"], now["missing"]),
    ]  # fmt: skip
    before, after = max(1, sum(then for _, then, _ in rows)), max(1, sum(count for _, _, count in rows))
    most = max(max(then / before, count / after) for _, then, count in rows) or 1.0
    for name, then, count in rows:
        shares = then / before, count / after
        if not any(shares):
            continue
        bars = ["█" * round(share / most * _BAR) for share in shares]
        table.add_row(name, f"{shares[0]:.1%}", Text(bars[0], "dim"), f"{shares[1]:.1%}", bars[1])
    return table


def _bins(reference: Mapping[str, Any]) -> list[str]:
    if "categories" in reference:
        return list(reference["categories"])
    edges = reference["edges"]
    if len(edges) < 2:
        return ["-"] * len(reference["counts"])
    return [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]


def _state(state: str) -> Text:
    return Text(state, STYLES.get(state, "green"))
