"""`headrace datasets import | split | upload`: new versions."""

import uuid
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from headrace.cli.commands.datasets.importing import run_here
from headrace.cli.commands.datasets.reading import JsonOption, SetArgument
from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores
from headrace.cli.files import DelimiterOption, EncodingOption
from headrace.cli.views.datasets import summary_view
from headrace.runtime.errors import ConfigError

app = typer.Typer()
NameArgument = Annotated[str, typer.Argument(help="of the set", metavar="NAME")]
AsOption = Annotated[str, typer.Option("--as", help="check each row as the pipeline's events, labels or examples")]
PipelineOption = Annotated[Path | None, typer.Option(help="the pipeline's folder, for --as")]
KeyOption = Annotated[str, typer.Option(help="the column that names an event")]
TimeOption = Annotated[str, typer.Option("--time", help="the column of each row's time")]
LabelTimeOption = Annotated[str, typer.Option(help="the column that says when each row's label became known")]
MetaOption = Annotated[list[str] | None, typer.Option("--meta", help="name=value: licence, description; repeatable")]
BadOption = Annotated[int, typer.Option("--max-bad-rows", min=0, help="leave out so many rows that do not fit")]


@app.command("import")
def import_(
    name: NameArgument,
    files: Annotated[list[str] | None, typer.Argument(help="CSV, Excel, Parquet, JSON lines", metavar="FILE")] = None,
    *,
    topic: Annotated[str, typer.Option(help="a range of a topic instead")] = "",
    from_: Annotated[str, typer.Option("--from", help="where it begins: earliest, a time, or 0:120,1:80")] = "earliest",
    to: Annotated[str, typer.Option("--to", help="where it ends, not included; also latest")] = "latest",
    query: Annotated[str, typer.Option(help='a SELECT over sets instead: rides, "rides@3"')] = "",
    table: Annotated[
        list[str] | None, typer.Option("--set", help="what a table of the query is: table=name@version")
    ] = None,
    as_: AsOption = "",
    pipeline: PipelineOption = None,
    key: KeyOption = "",
    time: TimeOption = "",
    label_time: LabelTimeOption = "",
    meta: MetaOption = None,
    max_bad_rows: BadOption = 0,
    rejected: Annotated[Path | None, typer.Option(help="write the rows that do not fit here, an object a line")] = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    sheet: Annotated[str, typer.Option(help="of a workbook (default: the only one with rows)")] = "",
    header_row: Annotated[int, typer.Option(min=0, help="of a workbook (default: the first that is not empty)")] = 0,
    header_rows: Annotated[int, typer.Option(min=1, help="rows that names take in a workbook")] = 1,
    decimal: Annotated[str, typer.Option(help="what fractions begin with: , or .")] = "",
    dates: Annotated[str, typer.Option(help="01/02/2026 is: day-first or month-first")] = "",
    zone: Annotated[str, typer.Option(help="of times that name none: Europe/Berlin")] = "",
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="column=text, int, float, bool, date or time; repeatable")
    ] = None,
    kafka: KafkaOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the next version of a set: of files, of a range of a topic, or of a query over other sets.

    What can be read in two ways (1,234; 01/02/2026) is refused, with file, row and column, and the option that says it.
    Rows that do not fit are listed. The version is there whole or not at all.

    For example:

      headrace datasets import rides rides.csv --as events --pipeline examples/rides --meta licence=CC0

      headrace datasets import may --topic rides.examples --from 2026-05-01 --to 2026-06-01

      headrace datasets import wet --query 'select * from "rides@3" where rain_mm > 0'
    """
    from headrace.datasets.form import Form
    from headrace.datasets.importing.job import Files, From, ImportJob, Query, Topic

    if sum(map(bool, (files, topic, query))) != 1:
        raise ConfigError("import what?", hint="FILE ..., --topic TOPIC or --query 'select ...': one of them")
    source: From = Topic(topic, from_, to) if topic else Query(query, pairs("--set", table)) if query else Files(
        [str(Path(file).absolute()) for file in files or ()]
    )  # fmt: skip
    form = made(
        Form, delimiter=delimiter, encoding=encoding, sheet=sheet, header_row=header_row, header_rows=header_rows,
        decimal=decimal, dates=dates, zone=zone, types=pairs("--type", type_),
    )  # fmt: skip
    settings = connect_to_stores(run, kafka)
    job_id = uuid.uuid4().hex
    job = made(
        ImportJob, id=job_id, name=name, folder=str(settings.storage_folder / "importing" / job_id), source=source,
        form=form, holds=as_, pipeline=str(pipeline.resolve()) if pipeline else "", key=key, time=time,
        label_time=label_time, metadata=pairs("--meta", meta), max_bad_rows=max_bad_rows,
    )  # fmt: skip
    summary_view(run_here(job, settings, rejected), as_json=as_json)


@app.command()
def split(
    name: SetArgument,
    *,
    by: Annotated[str, typer.Option(help="time: one part after the other; key: all rows of a key in one part")],
    share: Annotated[list[str], typer.Option(help="part=share, in the order of time; repeatable")],
    to: Annotated[str, typer.Option(help="names begin with this (default: the set's)")] = "",
    column: Annotated[str, typer.Option(help="the time or the key (default: the set's own)")] = "",
    label_time: LabelTimeOption = "",
    group: Annotated[str, typer.Option(help="with time: values of this column are in one part only")] = "",
    seed: Annotated[int, typer.Option(min=0, help="of the keys' hash")] = 0,
    meta: MetaOption = None,
    kafka: KafkaOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut a set into parts between which nothing leaks, each a set of its own: NAME-PART.

    By time, a row of an earlier part is left out whose label became known only when a later part had begun.

    For example:

      headrace datasets split rides@3 --by time --share train=0.7 --share validation=0.1 --share test=0.2

      headrace datasets split rides --by key --column customer --share train=0.8 --share test=0.2
    """
    from headrace.datasets.importing.job import ImportJob, Split
    from headrace.datasets.names import wanted

    settings = connect_to_stores(run, kafka)
    shares = {part: number("--share", part, value) for part, value in pairs("--share", share).items()}
    source = made(
        Split, set=name, by=by, shares=shares, column=column, label_time=label_time, group=group, seed=seed
    )  # fmt: skip
    job_id = uuid.uuid4().hex
    folder = str(settings.storage_folder / "importing" / job_id)
    job = made(
        ImportJob, id=job_id, name=to or wanted(name).name, folder=folder, source=source, metadata=pairs("--meta", meta)
    )
    summary_view(run_here(job, settings, None), as_json=as_json)


@app.command()
def upload(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="CSV, Excel, Parquet, JSON lines", exists=True, dir_okay=False)],
    *,
    url: Annotated[str, typer.Option(help="REST address of a role `datasets` or gateway (default: the run's)")] = "",
    go_on: Annotated[str, typer.Option("--go-on", help="with the upload of this id, which was broken off")] = "",
    as_: AsOption = "",
    key: KeyOption = "",
    time: TimeOption = "",
    label_time: LabelTimeOption = "",
    meta: MetaOption = None,
    max_bad_rows: BadOption = 0,
    run: RunOption = None,
) -> None:
    """Upload a file to a role `datasets`, in parts, and have it imported there.

    A part that fails is sent again; an upload that was broken off goes on with --go-on ID.

    For example:

      headrace datasets upload rides rides.xlsx --as events --meta licence=CC0
    """
    from headrace.datasets.upload_client import Service
    from headrace.launch.run_status import ready_address

    console = Console(stderr=True, highlight=False)
    service = Service(url or ready_address(run, "datasets", "rest"))
    size = file.stat().st_size
    with console.status("uploading ...") as status:
        upload_id = go_on or service.begin(file)
        console.print(f"upload {upload_id}: {size:,} bytes")
        service.send(upload_id, file, lambda at, of: status.update(f"{at:,} of {of:,} bytes"))
    body = {
        "from": {"upload": upload_id}, "as": as_, "key": key, "time": time, "label_time": label_time,
        "metadata": pairs("--meta", meta), "max_bad_rows": max_bad_rows,
    }  # fmt: skip
    started = service.post(f"/v1/datasets/{name}/versions", body)
    with console.status("importing ...") as status:
        done = service.follow(
            started["id"], lambda one: status.update(f"{one['phase'] or one['state']}: {one['rows']['done']:,} rows")
        )
    for row in done["bad_rows"]:
        where = f"{row['field']}: " if row["field"] else ""
        console.print(f"{row['place']}: {where}{row['problem']}", markup=False)
    if done["state"] != "done":
        raise ConfigError(f"the import {done['state']}: {done['error']}")
    typer.echo(f"{done['datasets'][0]}: {done['rows']['done']:,} rows")


def pairs(flag: str, given: list[str] | None) -> dict[str, Any]:
    """name=value, several times."""
    found = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"{flag} {text}: expected name=value")
        found[name] = value
    return found


def number(flag: str, name: str, text: str) -> float:
    """A share."""
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{flag} {name}={text}: expected a number") from None


def made(kind: Any, **fields: Any) -> Any:
    """A struct of these fields, checked.

    Raises:
        ConfigError: a value does not fit.
    """
    try:
        return msgspec.convert(fields, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(str(error).replace("`$.", "`")) from None
