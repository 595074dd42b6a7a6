"""`headrace resume`: newest checkpoints again after a rollback."""

from typing import Annotated

import typer

from headrace.cli.connect import KafkaOption, RunOption, connect, model_named
from headrace.cli.views.operation import carry_out
from headrace.contracts.events_pb2 import Operation
from headrace.rollouts.operations import OperatorSession


def resume(
    model: Annotated[
        str | None, typer.Argument(help="the model (default: the run's champion)", show_default=False)
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="noted with the directive")] = "",
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for the fleet")] = 15.0,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Let the newest checkpoints be rolled out again after `headrace rollback`.

    For example:

      headrace resume
    """
    request = Operation(model=model_named(model, run), kind=Operation.RESUME, reason=reason)
    with OperatorSession(connect(run, kafka_address), request.model) as session:
        carry_out(session, request, timeout)
