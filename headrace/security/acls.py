"""The grants as Kafka's access control lists."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from headrace.contracts.topics import CATALOGUE, TopicSpec, dead_letters
from headrace.runtime.errors import DependencyError
from headrace.runtime.kafka import REQUEST_TIMEOUT_S
from headrace.security.grants import EVERYBODY, GRANTS, Grant


@dataclass(frozen=True, order=True)
class Allowed:
    """One permission: `principal` may do `operation` on a resource whose name is `name`, or begins with it."""

    principal: str
    kind: str
    """`topic`, `group`, `transactional_id` or `cluster`."""
    name: str
    operation: str
    """`Read`, `Write`, `Describe`, `DescribeConfigs` or `Create`."""
    prefixed: bool = False

    def binding(self) -> AclBinding:
        """As Kafka's client takes it; from any host, since hosts are not who somebody is."""
        kinds = {
            "topic": ResourceType.TOPIC,
            "group": ResourceType.GROUP,
            "transactional_id": ResourceType.TRANSACTIONAL_ID,
            "cluster": ResourceType.BROKER,
        }
        pattern = ResourcePatternType.PREFIXED if self.prefixed else ResourcePatternType.LITERAL
        operation = AclOperation[_shouting(self.operation)]
        who = f"User:{self.principal}"
        return AclBinding(kinds[self.kind], self.name, pattern, who, "*", operation, AclPermissionType.ALLOW)


def permissions(pipelines: Iterable[str], grants: Mapping[str, Grant] = GRANTS) -> list[Allowed]:
    """Everything that the principals need for these pipelines, sorted."""
    names = sorted(set(pipelines))
    return sorted(
        {
            one
            for principal, grant in grants.items()
            for one in (*_of(principal, EVERYBODY, names), *_of(principal, grant, names))
        }
    )


def _of(principal: str, grant: Grant, pipelines: list[str]) -> Iterator[Allowed]:
    yield from _topics(principal, grant, pipelines)
    for prefix in _filled(grant.groups, pipelines):
        yield Allowed(principal, "group", prefix, "Read", prefixed=True)
    for prefix in _filled(grant.looks_at, pipelines):
        yield Allowed(principal, "group", prefix, "Describe", prefixed=True)
    for prefix in _filled(grant.transactions, pipelines):
        yield Allowed(principal, "transactional_id", prefix, "Write", prefixed=True)
        yield Allowed(principal, "transactional_id", prefix, "Describe", prefixed=True)
    if grant.creates:
        yield Allowed(principal, "cluster", "kafka-cluster", "Create")
        yield Allowed(principal, "cluster", "kafka-cluster", "Describe")


def _topics(principal: str, grant: Grant, pipelines: list[str]) -> Iterator[Allowed]:
    letters = [spec for spec in CATALOGUE if spec.dead_letters]
    for topic in (*_names(CATALOGUE, pipelines), *map(dead_letters, _names(letters, pipelines))):
        yield Allowed(principal, "topic", topic, "Describe")
    for topic in _names(grant.reads, pipelines):
        yield Allowed(principal, "topic", topic, "Read")
    for topic in _names(grant.writes, pipelines):
        yield Allowed(principal, "topic", topic, "Write")
    for operation, specs in (("Write", grant.letters), ("Read", grant.reads_letters)):
        for topic in map(dead_letters, _names([spec for spec in specs if spec.dead_letters], pipelines)):
            yield Allowed(principal, "topic", topic, operation)


def _filled(prefixes: Iterable[str], pipelines: list[str]) -> Iterator[str]:
    for prefix in prefixes:
        yield from (prefix.format(pipeline=one) for one in pipelines) if "{" in prefix else (prefix,)


def _names(specs: Iterable[TopicSpec], pipelines: list[str]) -> Iterator[str]:
    for spec in specs:
        yield from (spec.name(one) for one in pipelines) if spec.per_pipeline else (spec.name(),)


def apply(client: AdminClient, allowed: Iterable[Allowed]) -> int:
    """Have the broker allow all of it, beside what it allows already; how many permissions these are.

    Raises:
        DependencyError: the broker refused one.
    """
    bindings = {one.binding(): one for one in allowed}
    for binding, future in client.create_acls(list(bindings), request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            raise DependencyError(
                f"{bindings[binding]}: {error.args[0].str()}", hint="does it have an authorizer?"
            ) from error
    return len(bindings)


def _shouting(operation: str) -> str:
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(operation)).upper()
