"""Calling a role: found anew each time, tried again only where that is harmless."""

from collections.abc import Callable

import httpx
import pytest

from services.gateway.errors import DeadlineError, RefusedError, UnavailableError
from services.gateway.upstream import Upstream, resolver

Answer = Callable[[httpx.Request], httpx.Response]


class Role:
    """Instances by address; those that are not here refuse connections."""

    def __init__(self, **instances: Answer) -> None:
        self.instances = instances
        self.addresses = [f"http://{name}" for name in instances]
        self.calls: list[str] = []

    def upstream(self, timeout_s: float = 5.0) -> Upstream:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return Upstream("rpc", lambda: self.addresses, timeout_s, client)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request.url.host)
        if request.url.host not in self.instances:
            raise httpx.ConnectError("refused")
        return self.instances[request.url.host](request)


def ok(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"ok": True})


def unready(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"error": "no version yet"})


def dies(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone")


async def test_instances_are_asked_in_turn() -> None:
    role = Role(a=ok, b=ok)
    upstream = role.upstream()

    for _ in range(4):
        assert await upstream.ask("/x", b"") == {"ok": True}

    assert role.calls == ["a", "b", "a", "b"]


@pytest.mark.parametrize("bad", [unready, dies])
async def test_what_may_be_done_twice_is_tried_elsewhere(bad: Answer) -> None:
    role = Role(a=bad, b=ok)

    assert await role.upstream().ask("/x", b"") == {"ok": True}
    assert role.calls == ["a", "b"]


async def test_an_instance_that_comes_back_elsewhere_is_found() -> None:
    role = Role(new=ok)
    role.addresses = ["http://old"]
    upstream = role.upstream()
    answer = role._answer

    def moved(request: httpx.Request) -> httpx.Response:
        role.addresses = ["http://new"]
        return answer(request)

    upstream._client = httpx.AsyncClient(transport=httpx.MockTransport(moved))

    assert await upstream.ask("/x", b"") == {"ok": True}
    assert role.calls == ["old", "new"]


async def test_what_must_not_be_done_twice_is_not() -> None:
    role = Role(a=dies, b=ok)
    with pytest.raises(UnavailableError, match="went away while answering"):
        await role.upstream().forward("/x", b"", {})
    assert role.calls == ["a"]

    role = Role(a=unready, b=ok)
    assert (await role.upstream().forward("/x", b"", {})).status_code == 503
    assert role.calls == ["a"]


async def test_a_connection_that_never_came_about_harms_nothing() -> None:
    role = Role(b=ok)
    role.addresses = ["http://gone", "http://b"]

    assert (await role.upstream().forward("/x", b"", {})).status_code == 200


async def test_a_refusal_is_passed_on_at_once() -> None:
    role = Role(a=lambda _: httpx.Response(400, json={"error": "wrong datatype"}))

    with pytest.raises(RefusedError, match="wrong datatype") as raised:
        await role.upstream().ask("/x", b"")

    assert raised.value.status == 400
    assert role.calls == ["a"]


async def test_the_deadline_ends_the_attempts() -> None:
    with pytest.raises(DeadlineError, match=r"did not answer within 0\.1 s; last: none is running"):
        await Role().upstream(timeout_s=0.1).ask("/x", b"")


def test_a_setting_wins_over_the_run_folder(tmp_path) -> None:
    assert resolver(" http://a/ ,http://b", tmp_path, "rpc")() == ["http://a", "http://b"]
    assert resolver("", tmp_path, "rpc")() == []


async def test_the_password_of_an_address_is_not_told_to_callers() -> None:
    role = Role()
    role.addresses = ["http://me:hush@gone"]
    with pytest.raises(DeadlineError) as caught:
        await role.upstream(timeout_s=0.01).ask("/x", b"")
    assert "http://me:***@gone: ConnectError('refused')" in str(caught.value)
