"""Queues, items and agreement as people see them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from headrace.cli.views.formats import number

_COUNTS = ("open", "leased", "review", "held", "published", "skipped", "labels", "passed_over")


def queues_table(queues: Sequence[Mapping[str, Any]]) -> Table:
    """Queues and their counts."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("queue", no_wrap=True, style="cyan")
    for name in _COUNTS:
        made.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    made.add_column("what", overflow="ellipsis", no_wrap=True)
    for queue in queues:
        made.add_row(Text(queue["name"]), *(f"{queue[name]:,}" for name in _COUNTS), Text(queue["what"]))
    return made


def item_lines(item: Mapping[str, Any]) -> Iterable[str]:
    """An item: what it is, what was predicted, and what people said."""
    yield f"item        {item['id']}  ({', '.join(item['queues'])}; {item['state']})"
    yield f"key         {item['key']}"
    if item["at"]:
        yield f"at          {item['at']}" + (f", a label counts until {item['expires']}" if item["expires"] else "")
    for name, value in (item["event"] or {}).items():
        yield f"  {name:<20} {_plain(value)}"
    if item["prediction"] is not None:
        yield f"prediction  {_plain(item['prediction'])}, by {item['model']} {item['version']}"
    if (letter := item["letter"]) is not None:
        yield f"dead letter {letter['phase']}: {letter['reason']}"
        yield f"            {letter.get('value', '')}"
    if (lease := item["lease"]) is not None:
        yield f"lease       {lease['labeller']}, to {lease['purpose']}, until {lease['until']}"
    for one in item["decisions"]:
        undone = f", undone {one['undone']}" if one["undone"] else ""
        said = _plain(one["label"]) if one["label"] is not None else one["reason"]
        yield f"{one['kind']:<11} {one['labeller']} at {one['at']}: {said}{undone}"


def form_lines(form: Mapping[str, Any]) -> Iterable[str]:
    """What a label takes."""
    for field in form["fields"]:
        need = "" if field.get("required") else ", may be left out"
        bounds = {"minimum": ">=", "exclusive_minimum": ">", "maximum": "<=", "exclusive_maximum": "<"}
        limits = "".join(f", {sign} {field[name]:g}" for name, sign in bounds.items() if field.get(name) is not None)
        choices = f": {', '.join(map(_plain, field['choices']))}" if field.get("choices") else ""
        yield f"  {field['name']}=  {field['kind']}{choices}{limits}{need}"


def agreement_table(agreement: Mapping[str, Any]) -> Table:
    """Agreement by field, over all and by pairs of people."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("labellers", "field", "items", "equal", "kappa", "mean difference"):
        made.add_column(name, no_wrap=True, justify="left" if name in ("labellers", "field") else "right")
    parts = [("all", agreement["fields"])]
    parts += [(" and ".join(pair["labellers"]), pair["fields"]) for pair in agreement["pairs"]]
    for who, fields in parts:
        for field in fields:
            equal = "-" if field["percent"] is None else f"{field['percent']:.1f} %"
            kappa, difference = number(field["kappa"]), number(field["mean_absolute_difference"])
            made.add_row(Text(who), Text(field["field"]), f"{field['n']:,}", equal, kappa, difference)
    return made


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
