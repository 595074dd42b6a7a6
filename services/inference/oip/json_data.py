"""The `data` of a tensor in a REST body: JSON, nested or flat, to the tensor's elements."""

import itertools
from typing import Any

from headrace.model.json_errors import EndlessNumber, with_endless_numbers
from headrace.model.values import find_bad_number
from services.inference.oip.messages import InvalidRequest

_ACCEPTED: dict[str, set[type]] = {"BOOL": {bool}, "INT64": {int}, "FP64": {float, int}, "BYTES": {str}}


def elements(name: str, datatype: str, data: Any) -> tuple[list[Any], bool]:
    """The elements of JSON data, nested or flat, of the right types; and whether any are null.

    Raises:
        InvalidRequest: they are nested unevenly, or not of the datatype.
    """
    flat = data if isinstance(data, list) else [data]
    kinds = set(map(type, flat))
    while list in kinds:
        if kinds != {list}:
            raise InvalidRequest(f"the data of input '{name}' is nested unevenly")
        flat = list(itertools.chain.from_iterable(flat))
        kinds = set(map(type, flat))
    nulls = type(None) in kinds
    kinds.discard(type(None))
    if not kinds <= _ACCEPTED.get(datatype, kinds):
        found = ", ".join(sorted(k.__name__ for k in kinds))
        raise InvalidRequest(f"unable to parse data of input '{name}': {datatype} from JSON values of type {found}")
    if datatype == "FP64" and int in kinds:
        flat = [v if v is None else float(v) for v in flat]
    if datatype == "INT64" and (bad := find_bad_number(flat)) is not None:
        raise InvalidRequest(f"input '{name}': {bad.named_in('element')}")
    return flat, nulls


def endless_element(body: bytes) -> str:
    """Which element is NaN or infinite, if that is why the body is not JSON; else ""."""
    content = with_endless_numbers(body)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    for one in inputs if isinstance(inputs, list) else ():
        flat = one.get("data") if isinstance(one, dict) else None
        while isinstance(flat, list) and any(isinstance(element, list) for element in flat):
            flat = [part for element in flat for part in (element if isinstance(element, list) else [element])]
        for i, element in enumerate(flat if isinstance(flat, list) else [flat]):
            if isinstance(element, EndlessNumber):
                return f"input '{one.get('name')}': element {i}: {element}, expected a finite number"
    return ""
