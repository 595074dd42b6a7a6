"""Options of commands that read files of records."""

from typing import Annotated

import typer

DelimiterOption = Annotated[
    str | None,
    typer.Option(help="what separates columns of CSV files: one character, or tab (default: a comma; a tab in .tsv)"),
]
EncodingOption = Annotated[
    str | None, typer.Option(help="the files' encoding, e.g. latin-1 (default: by its byte-order mark, else utf-8)")
]
