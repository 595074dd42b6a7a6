"""`headrace label` against the role's own REST app, over twins of Kafka's ends."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.cli.labelling import fields_of
from headrace.runtime.errors import ConfigError, ExitCode
from headrace.runtime.web import WebServer
from services.labelling.rest import create_app
from tests.labelling_kit import World, served
from tests.patience import WAIT_S, wait_for
from tests.unit.labelling.test_desk import pipeline


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a role answers that has eight items, every one to be reviewed."""
    world = World(pipeline(tmp_path_factory.mktemp("label"), review=1.0, blind=False, lease_s=3600))
    world.come(*(world.predicted(n) for n in range(8)))
    with served(world) as (labelling, followers):
        server = WebServer(
            create_app(labelling, followers, max_request_bytes=1 << 20), "127.0.0.1", 0, grace_s=1.0, edge=None
        )

        async def serve() -> None:
            followers.start()
            await server.serve()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="rest")
        thread.start()
        wait_for(lambda: world.store.entries)
        yield server.url
        server.stop()
        thread.join(WAIT_S)


def label(url: str, *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(
        application(), ["label", *arguments, "--url", url], prog_name="headrace", env={"COLUMNS": "160"}
    )
    assert done.exit_code == code, done.output
    return done


def test_an_item_is_taken_labelled_undone_reviewed_and_agreed_on(url: str) -> None:
    shown = label(url, "next", "all", "--as", "ana").stdout
    assert "item        0-0" in shown
    assert "  x                    0.0" in shown
    assert "y=  number" in shown
    refused = label(url, "give", "0-0", "y=high", "--as", "ana", code=ExitCode.DATA)
    assert "y: Expected `float`, got `str`" in refused.stderr
    assert "review: it waits for a second person" in label(url, "give", "0-0", "y=1.5", "--as", "ana").stdout
    assert "nothing of it was published" in label(url, "undo", "--queue", "all", "--as", "ana").stdout
    label(url, "give", "0-0", "y=2", "--as", "ana")
    taken = json.loads(label(url, "next", "all", "--review", "only", "--as", "ben", "--json").stdout)
    assert taken["item"]["decisions"][-1]["label"] == {"y": 2.0}
    assert "0-0 is published" in label(url, "review", "0-0", "--accept", "--as", "ben").stdout
    assert "ana at" in label(url, "show", "0-0").stdout
    agreed = json.loads(label(url, "agreement", "--json").stdout)
    assert (agreed["items"], agreed["pairs"][0]["labellers"]) == (1, ["ana", "ben"])
    assert "100.0 %" in label(url, "agreement", "all").stdout


def item_in(shown: str) -> str:
    """The item that `next` shows."""
    return next(line.split()[1] for line in shown.splitlines() if line.startswith("item "))


def test_who_skips_is_given_the_next(url: str) -> None:
    first = item_in(label(url, "next", "all", "--as", "cleo", "--review", "never").stdout)
    other = next(item for item in ("0-5", "0-6") if item != first)
    assert "lease it" in label(url, "skip", other, "--as", "cleo", code=ExitCode.DATA).stderr
    label(url, "skip", first, "--as", "cleo", "--reason", "unclear")
    assert item_in(label(url, "next", "all", "--as", "cleo", "--review", "never").stdout) != first


def test_files_go_out_and_in_and_refused_tasks_are_told(url: str, tmp_path: Path) -> None:
    tasks, config, bad = (tmp_path / name for name in ("tasks.json", "config.xml", "bad.json"))
    assert "8 tasks" in label(url, "export", "all", "-o", str(tasks)).stdout
    assert len(json.loads(tasks.read_text())) == 8
    label(url, "export", "-o", str(config), "--config")
    assert '<Number name="y"' in config.read_text()
    assert "8 tasks: 0 new items, 0 new decisions" in label(url, "import", str(tasks)).stdout
    bad.write_text(json.dumps([{"data": {"x": 1}}, {"data": {"id": "new", "x": 2.0}}]))
    done = label(url, "import", str(bad), code=ExitCode.DATA)
    assert "2 tasks: 1 new item" in done.stdout
    assert "task 0: `data` has no 'id'" in done.stderr


def test_queues_are_a_table_and_what_is_not_there_is_an_error(url: str) -> None:
    table = label(url, "queues").stdout
    assert "every predicted event" in table
    assert "dead-letters" in table
    assert "no queue 'none'" in label(url, "next", "none", code=ExitCode.CONFIG).stderr
    assert "name an item" in label(url, "undo", code=ExitCode.CONFIG).stderr
    assert "either a label" in label(url, "review", "0-0", code=ExitCode.CONFIG).stderr


FORM = {
    "fields": [
        {"name": "n", "kind": "number"}, {"name": "b", "kind": "boolean"}, {"name": "t", "kind": "text"},
        {"name": "c", "kind": "choice", "choices": ["7", 8]}, {"name": "cs", "kind": "choices", "choices": ["a", "b"]},
        {"name": "j", "kind": "json", "nullable": True},
    ]
}  # fmt: skip


def test_words_are_values_as_the_fields_kinds_ask() -> None:
    words = ["n=1.5", "b=yes", "t=12", "c=7", "cs=a,b", "j=null"]
    assert fields_of(words, FORM) == {"n": 1.5, "b": True, "t": "12", "c": "7", "cs": ["a", "b"], "j": None}
    assert fields_of(["c=8", 'j={"a": 1}', "n=high", "t=a=b"], FORM) == {"c": 8, "j": {"a": 1}, "n": "high", "t": "a=b"}
    for wrong in ("n", "z=1"):
        with pytest.raises(ConfigError, match="expected field=value"):
            fields_of([wrong], FORM)
