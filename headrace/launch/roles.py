"""Every role: which module it is, and in which order a run starts them."""

from dataclasses import dataclass

from headrace.runtime.errors import ConfigError


@dataclass(frozen=True)
class Role:
    """`python -m <module>` runs it; its `__main__` has `main(argv)`, which returns the exit code."""

    name: str
    module: str
    what: str
    wave: int
    needs: str = ""
    """A section of pipeline.yaml without which a run does not start it."""


PREDICTING, COUNTING, ANSWERING, BESIDE = range(4)
ON_REQUEST = -1  # not part of a run: started by `headrace run` alone

# Each wave starts when what the one before is for is there: predictions, then numbers of them, then everything else. On
# two cores nine processes importing torch at once would delay all three. What stands beside the flow (data sets,
# labelling, drift, rules) comes last, and a run with `--core` does without it.
ROLES = (
    Role("trainer", "services.trainer", "learns from examples, publishes checkpoints", PREDICTING),
    Role("stream", "services.inference.stream", "predicts every event of the topic, exactly once", PREDICTING),
    Role("coordinator", "services.ckpt.coordinator", "rolls checkpoints out over the fleet", PREDICTING),
    Role("agent", "services.ckpt.agent", "brings weights to this host's shared memory", PREDICTING),
    Role("join", "services.ingest.join", "joins labels to events", COUNTING),
    Role("monitor", "services.monitor", "accuracy, lag, freshness, alerts", COUNTING),
    Role("ingest", "services.ingest", "takes events and labels by REST and gRPC", ANSWERING),
    Role("rpc", "services.inference.rpc", "answers single requests by gRPC and REST", ANSWERING),
    Role("gateway", "services.gateway", "one REST address for everything", ANSWERING),
    Role("labelling", "services.labelling", "queues of what people are to label", BESIDE),
    Role("drift", "services.drift", "drift, volume and latency; alerts, silences, webhooks", BESIDE),
    Role("train", "services.trainer.ondemand", "trains on demand, as jobs by REST", BESIDE, needs="rules"),
    Role("rules", "services.rules", "runs the pipeline's rules", BESIDE, needs="rules"),
    Role("datasets", "services.datasets", "sets of data: imports, uploads, profiles, by REST", BESIDE),
    Role("archive", "services.archive", "keeps records and metrics queryable", BESIDE),
    Role("batch", "services.batch", "predicts files of events, as jobs by REST", ON_REQUEST),
    Role("triton-bridge", "services.bridge", "gives every activated version to a Triton server", ON_REQUEST),
)


def role(name: str) -> Role:
    """The role of that name.

    Raises:
        ConfigError: there is none.
    """
    for known in ROLES:
        if known.name == name:
            return known
    raise ConfigError(f"no role {name!r}", hint=f"one of: {', '.join(r.name for r in ROLES)}")
