"""The role `stream` on a broker that asks nobody, and on one with TLS, SCRAM and ACLs, in turn on one machine."""

import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stream.backlog import PIPELINE, SINK, SOURCE, create_topics, fill
from benchmarks.stream.contestants import OURS
from benchmarks.stream.race import race
from benchmarks.stream.terms import Terms
from headrace.platform import LocalPlatform
from headrace.runtime.settings import KAFKA_CONFIG, ServiceSettings
from headrace.security.secured import OPERATOR, Secured

GROUP = f"{PIPELINE}.stream"
_WARM = 0.2
"""The share of a run that is not measured: connections, handshakes, the first rounds."""


@dataclass(frozen=True)
class Rates:
    """Events a second of each round, and processor seconds of the role for a million events."""

    rates: list[float]
    cpu_s: list[float]

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)

    @property
    def cpu(self) -> float:
        """The median."""
        return statistics.median(self.cpu_s)


def measure(records: int, rounds: int, say: Callable[[str], None]) -> tuple[Rates, Rates]:
    """Plain and secured: `rounds` runs of each over `records` events, alternating."""
    plain, secured = Rates([], []), Rates([], [])
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        security = Secured(Path(folder) / "secured" / "platform" / "security", [PIPELINE])
        with (
            LocalPlatform(Path(folder) / "plain", env={}) as one,
            LocalPlatform(Path(folder) / "secured", security=security, env={}) as other,
        ):
            sides = (
                (plain, _settings(one, Path(folder), {}), {}),
                (secured, _settings(other, Path(folder), dict(security.client_config(OPERATOR))),
                 dict(security.client_config("stream"))),
            )  # fmt: skip
            for _, settings, _ in sides:
                create_topics(settings)
                fill(settings, records)
            for number in range(rounds):
                for rates, settings, config in sides:
                    rate, cpu_s = _run(settings, config, records, number)
                    rates.rates.append(rate)
                    rates.cpu_s.append(cpu_s)
                say(f"round {number + 1}: plain {plain.rates[-1]:,.0f}/s, secured {secured.rates[-1]:,.0f}/s")
    return plain, secured


def _settings(platform: LocalPlatform, folder: Path, config: dict[str, str]) -> ServiceSettings:
    servers = platform.endpoints.kafka_bootstrap_servers
    return ServiceSettings(kafka_bootstrap_servers=servers, kafka_config=config, run_dir=folder).for_role("bench")


def _run(settings: ServiceSettings, config: dict[str, str], records: int, number: int) -> tuple[float, float]:
    terms = Terms(settings.kafka_bootstrap_servers, SOURCE, SINK, f"{GROUP}.{number}")
    with _environment(config):
        samples = race(OURS, settings, terms, records)
    first = next(sample for sample in samples if sample.done >= records * _WARM)
    last = samples[-1]
    done = last.done - first.done
    return done / (last.at_s - first.at_s), (last.cpu_s - first.cpu_s) / done * 1e6


@contextmanager
def _environment(config: dict[str, str]) -> Iterator[None]:
    """What the role's process inherits."""
    before = os.environ.pop(KAFKA_CONFIG, None)
    if config:
        os.environ[KAFKA_CONFIG] = json.dumps(config)
    try:
        yield
    finally:
        os.environ.pop(KAFKA_CONFIG, None)
        if before is not None:
            os.environ[KAFKA_CONFIG] = before
