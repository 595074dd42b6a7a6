"""`headrace rollback`: serve an earlier version, and stay there."""

from typing import Annotated

import typer

from headrace.cli.connect import KafkaOption, RunOption, connect, model_named
from headrace.cli.views.operation import carry_out
from headrace.contracts.events_pb2 import Operation
from headrace.rollouts.operations import OperatorSession


def rollback(
    model: Annotated[
        str | None, typer.Argument(help="the model (default: the run's champion)", show_default=False)
    ] = None,
    *,
    to: Annotated[int, typer.Option("--to", min=0, metavar="VERSION", help="0: the one before the active one")] = 0,
    reason: Annotated[str, typer.Option(help="noted with the directive, for whoever asks later")] = "",
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for the fleet")] = 15.0,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Serve an earlier version everywhere, and stay there until `headrace resume`.

    Training and checkpoints go on meanwhile. Returns when every worker has confirmed.

    For example:

      headrace rollback

      headrace rollback flights --to 12 --reason "13 is off at night"

      headrace rollback flights.wide
    """
    request = Operation(model=model_named(model, run), kind=Operation.ROLL_BACK, version=to, reason=reason)
    with OperatorSession(connect(run, kafka_address), request.model) as session:
        carry_out(session, request, timeout)
