"""`headrace datasets …`: bounded, versioned sets of data, to train on, predict, test and replay."""

import typer

from headrace.cli.commands.datasets import making, reading, removing, watching

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Data sets: immutable, versioned tables. `rides@3` is version 3 of the set `rides`, `rides` its newest.

For example:

  headrace datasets import rides rides.xlsx --meta licence=CC-BY-4.0

  headrace datasets split rides --by time --share train=0.8 --share test=0.2

  headrace train examples/rides -o build/run --dataset rides-train
""",
)
for part in (reading, making, removing, watching):
    app.registered_commands += part.app.registered_commands
