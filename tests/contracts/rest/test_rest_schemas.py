"""Every REST service, asked whatever its OpenAPI document allows and what it does not: no 500, only what is documented.

Schemathesis makes the requests, the same ones in every run.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.contracts.rest.rest_services import KNOWN_ALERT, NAMES, RULES_RUN, Served, rest_services
from tests.patience import WAIT_S

DESCRIBED = [name for name in NAMES if name != "monitor"]  # which has one path, and no document
EXAMPLES = 8
ROUTERS = {404: "Not Found", 405: "Method Not Allowed"}
"""What any server answers where a path's value leads to another route: a slash in it, or none."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with rest_services(tmp_path_factory.mktemp("services")) as found:
        yield found


def check(answer: requests.Response, documented: set[str], said: str) -> None:
    """The status is documented, an error is a JSON object with a text, and nothing shows the inside."""
    streams = answer.headers.get("content-type", "").startswith("text/event-stream")
    body = b"" if streams else answer.content
    assert answer.status_code < 500 or str(answer.status_code) in documented, f"{said}: {answer.status_code} {body!r}"
    assert answer.status_code != 500, f"{said}: {body!r}"
    for trace in (b"Traceback", b'File "', b".py"):
        assert trace not in body or answer.status_code < 400, f"{said}: {body!r}"
    if answer.status_code >= 400 and body and answer.headers["content-type"] == "application/json":
        error = json.loads(body)["error"]
        assert isinstance(error, str)
        if ROUTERS.get(answer.status_code) == error:
            return
    assert str(answer.status_code) in documented, f"{said}: {answer.status_code} {body!r}, documented {documented}"


def described(served: Served, name: str) -> Any:
    """The document, with what exists among the values of its paths: any text would only ever be unknown."""
    document = served.document(name)
    known: dict[str, Any] = {
        "pipeline": "trips",
        "model": "trips",
        "version": "1",
        "region": "r",
        "job": served.job(name),
        "name": "trips",
    }
    known["upload"] = served.upload(name)
    known |= {"queue": "all", "item": "0-3"}
    known |= {"rule": "r", "run": RULES_RUN, "number": 1}
    known |= {"identity": KNOWN_ALERT, "silence": "s-1"}
    for path in document["paths"].values():
        for parameter in (one for method in path.values() for one in method.get("parameters", ())):
            if parameter["in"] == "path":
                parameter["schema"] = {"anyOf": [{"const": known[parameter["name"]]}, parameter["schema"]]}
    return schemathesis.openapi.from_dict(document)


def ask(operation: Any, url: str, mode: GenerationMode, session: requests.Session) -> None:
    """Send what the strategy of this operation makes, and check each answer."""
    documented = set(operation.definition.raw["responses"])

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        request = case.as_transport_kwargs(base_url=url)
        with session.request(**request, stream=True, timeout=WAIT_S, allow_redirects=False) as answer:
            check(answer, documented, f"{case.method} {request}")

    with contextlib.suppress(Unsatisfiable):  # nothing that this operation takes could be wrong
        each()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", DESCRIBED)
def test_whatever_is_asked_is_answered_as_documented(served: Served, name: str, mode: GenerationMode) -> None:
    operations = [found.ok() for found in described(served, name).get_all_operations()]
    assert operations
    with requests.Session() as session:
        for operation in operations:
            ask(operation, served.urls[name], mode, session)


def test_the_monitor_answers_its_one_path(served: Served) -> None:
    url = served.urls["monitor"]
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = requests.request(method, f"{url}/v1/snapshot?x=%ff", data=b"\xff" * 100, timeout=WAIT_S)
        assert answer.status_code == (200 if method in ("GET", "HEAD") else 405)
    assert requests.get(f"{url}/%ff/..%00", timeout=WAIT_S).status_code == 404
