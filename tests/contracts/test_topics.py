"""The topic catalogue: what every topic promises, over all of them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts import access, events_pb2, records, topics

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("spec", topics.CATALOGUE, ids=lambda s: s.pattern)
def test_each_topic_says_who_owns_it_and_what_is_in_it(spec: topics.TopicSpec) -> None:
    assert spec.owner
    assert spec.key
    assert spec.doc.endswith(".")
    assert "." in spec.pattern


@pytest.mark.parametrize("spec", topics.CATALOGUE, ids=lambda s: s.pattern)
def test_each_schema_that_is_named_exists(spec: topics.TopicSpec) -> None:
    name = spec.schema.split(" ")[0]
    if name.startswith("headrace.v1."):
        assert name.removeprefix("headrace.v1.") in events_pb2.DESCRIPTOR.message_types_by_name
    elif name.startswith("records."):
        assert hasattr(records, name.removeprefix("records."))
    elif name.startswith("access."):
        assert hasattr(access, name.removeprefix("access."))
    else:
        assert "pipeline's" in spec.schema


def test_names_are_unique_and_systems_share_one_number_of_partitions_by_model() -> None:
    names = [t.name for t in (*topics.pipeline_topics("rides"), *topics.system_topics())]
    assert len(names) == len(set(names))
    # The coordinator of a model's partition must own both; the agents find a model's directives by its partition.
    by_model = (topics.CHECKPOINTS, topics.OPERATIONS, topics.ROLLOUTS, topics.APPLIED, topics.ALERTS)
    assert len({t.topic().partitions for t in by_model}) == 1


def test_a_pipelines_topics_have_its_number_of_partitions_so_that_keys_stay_together() -> None:
    assert {t.partitions for t in topics.pipeline_topics("rides", 7)} == {7}


def test_a_pipelines_topic_needs_its_name() -> None:
    with pytest.raises(ValueError, match="pipeline"):
        topics.EVENTS.name()


def test_a_models_partition_never_changes() -> None:
    assert [topics.model_partition(m) for m in ("flights", "rides", "digits")] == [2, 3, 2]


def test_the_page_about_topics_is_what_the_command_writes() -> None:
    """Byte for byte, so that nobody edits the page by hand."""
    written = CliRunner().invoke(application(), ["topics", "--markdown"], prog_name="headrace").stdout_bytes
    assert (ROOT / "docs" / "topics.md").read_bytes() == written, "headrace topics --markdown > docs/topics.md"


def test_nobody_else_spells_a_topic() -> None:
    suffixes = tuple(f'"{s.pattern.removeprefix("{pipeline}")}"' for s in topics.PIPELINE_TOPICS)
    names = tuple(f'"{s.pattern}"' for s in topics.SYSTEM_TOPICS)
    for path in (*ROOT.glob("headrace/**/*.py"), *ROOT.glob("services/**/*.py")):
        if path.name == "topics.py" and path.parent.name == "contracts":
            continue
        text = path.read_text()
        spelled = [s for s in (*suffixes, *names) if s in text]
        assert not spelled, f"{path.relative_to(ROOT)} spells {spelled}: take it from headrace.contracts.topics"
