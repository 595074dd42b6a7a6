"""The permissions of roles follow the topic catalogue."""

from collections import Counter

import pytest
import yaml
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts.topics import AUDIT, CATALOGUE, EVENTS, LABELS, PREDICTIONS, TopicSpec
from headrace.launch.roles import ROLES
from headrace.security.acls import Allowed, permissions
from headrace.security.grants import EVERYBODY, GRANTS


def test_every_role_has_a_principal() -> None:
    assert {role.name for role in ROLES} <= set(GRANTS)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.pattern)
def test_every_topic_has_writers_and_readers_beside_the_operator(spec: TopicSpec) -> None:
    others = {name: grant for name, grant in GRANTS.items() if name != "operator"}
    writers = {name for name, grant in others.items() if spec in (*grant.writes, *EVERYBODY.writes)}
    readers = {name for name, grant in others.items() if spec in (*grant.reads, *EVERYBODY.reads)}
    assert writers or spec.owner.startswith("command line")
    assert readers or spec == AUDIT  # which people read, by commands


def test_a_role_may_write_nothing_but_what_it_is_there_for() -> None:
    allowed = permissions(["rides", "flights"])
    writes = {(one.principal, one.name) for one in allowed if one.kind == "topic" and one.operation == "Write"}
    assert {name for principal, name in writes if principal == "stream"} == {
        AUDIT.name(),
        *(
            f"{pipeline}.{topic}"
            for pipeline in ("rides", "flights")
            for topic in ("predictions", "shadows", "events.dlq")
        ),
    }
    predictors = {principal for principal, name in writes if name == PREDICTIONS.name("rides")}
    assert predictors == {"stream", "operator"}
    assert ("drift", EVENTS.name("rides")) not in writes
    assert ("trainer", LABELS.name("rides")) not in writes


def test_few_create_topics_and_nobody_deletes_or_alters() -> None:
    allowed = permissions(["rides"])
    assert {one.principal for one in allowed if one.operation == "Create"} == {"operator", "archive"}
    assert {one.operation for one in allowed} <= {"Read", "Write", "Describe", "Create"}


def test_other_pipelines_topics_are_not_granted() -> None:
    named = {one.name for one in permissions(["rides"]) if one.kind == "topic"}
    assert all(name.startswith(("rides.", "headrace.")) for name in named)
    groups = {one.name for one in permissions(["rides"]) if one.prefixed}
    assert all(name.startswith(("rides.", "headrace")) for name in groups)


def test_no_permission_is_listed_twice() -> None:
    assert max(Counter(permissions(["rides", "rides"])).values()) == 1


def test_permissions_become_kafkas_bindings() -> None:
    binding = Allowed("stream", "transactional_id", "rides.stream", "Write", prefixed=True).binding()
    assert (binding.principal, binding.name, binding.host) == ("User:stream", "rides.stream", "*")
    assert binding.operation.name == "WRITE"
    assert binding.resource_pattern_type.name == "PREFIXED"


def test_strimzis_users_hold_the_same_permissions() -> None:
    answer = CliRunner().invoke(application(), ["acls", "rides", "--strimzi"])
    assert answer.exit_code == 0, answer.output
    users = {user["metadata"]["name"]: user for user in yaml.safe_load_all(answer.output)}
    assert set(users) == {f"headrace-{name}" for name in GRANTS}
    rules = users["headrace-stream"]["spec"]["authorization"]["acls"]
    listed = {(rule["resource"]["name"], operation) for rule in rules for operation in rule["operations"]}
    assert listed == {(one.name, one.operation) for one in permissions(["rides"]) if one.principal == "stream"}
