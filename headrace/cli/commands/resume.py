"""`headrace resume`: newest checkpoints again after a rollback."""

from typing import Annotated

import typer

from headrace.cli.connect import KafkaOption, RunOption
from headrace.cli.operate import model_named, operate
from headrace.contracts.events_pb2 import Operation


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
    operate(request, run=run, kafka_address=kafka_address, timeout=timeout)
