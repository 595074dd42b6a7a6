"""Where a request's time went, in its answer's parameters: for requests with the parameter `timing`.

The values are ns, and the stages those of the protocol's statistics. `total_ns` is from the request's admission to its
answer, transport excluded. The stages of the computation, and `batch_events`, are the whole batch's.
"""

from collections.abc import Mapping
from typing import Any

from services.inference.oip.messages import InvalidRequest
from services.inference.rpc.statistics import Execution


def timing_wanted(parameters: Mapping[str, Any]) -> bool:
    """Whether a request wants to be told.

    Raises:
        InvalidRequest: the parameter is neither true nor false.
    """
    wanted = parameters.get("timing", False)
    if not isinstance(wanted, bool):
        raise InvalidRequest("parameter 'timing' must be true or false")
    return wanted


def executed(total_ns: int, queue_ns: int, execution: Execution) -> dict[str, int]:
    """The parameters of an answer that was computed."""
    return {
        "queue_ns": queue_ns,
        "compute_input_ns": execution.compute_input,
        "compute_infer_ns": execution.compute_infer,
        "compute_output_ns": execution.compute_output,
        "total_ns": total_ns,
        "batch_events": execution.events,
    }


def found(total_ns: int, lookup_ns: int) -> dict[str, int]:
    """The parameters of an answer from the response cache."""
    return {"queue_ns": 0, "cache_hit_ns": lookup_ns, "total_ns": total_ns}
