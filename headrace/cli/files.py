"""Options of commands that read files of records."""

from typing import Annotated

import typer

DelimiterOption = Annotated[
    str | None,
    typer.Option(help="what separates columns of CSV files: one character, or tab (default: a comma; a tab in .tsv)"),
]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", help="data sets instead, `name@version` or `name` for the newest; repeatable", show_default=False
    ),
]
EncodingOption = Annotated[
    str | None, typer.Option(help="the files' encoding, e.g. latin-1 (default: by its byte-order mark, else utf-8)")
]
