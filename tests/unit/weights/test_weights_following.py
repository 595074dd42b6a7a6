"""Following a fleet without an agent: what counts as its active version, and what a client has to import."""

import subprocess
import sys

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.weights.worker.following import ActiveVersion

STAGE, ACTIVATE, ROLL_BACK = RolloutDirective.STAGE, RolloutDirective.ACTIVATE, RolloutDirective.ROLL_BACK


def directive(sequence, action, version, *, epoch=1, model="m"):
    return RolloutDirective(
        model=model,
        action=action,
        version=version,
        sequence=sequence,
        coordinator_epoch=epoch,
        manifest_digest=str(version),
    )


def test_activations_and_rollbacks_change_the_version_and_nothing_else_does():
    """Staging, another model's directives, and the same version once more are no news."""
    active = ActiveVersion("m")
    assert not active.on_directive(directive(1, STAGE, 1))
    assert active.directive is None
    assert not active.on_directive(directive(9, ACTIVATE, 9, model="other"))
    assert active.on_directive(directive(2, ACTIVATE, 1))
    assert not active.on_directive(directive(3, ACTIVATE, 1))
    assert active.on_directive(directive(4, ACTIVATE, 2))
    assert active.on_directive(directive(5, ROLL_BACK, 1))
    assert active.directive.version == 1


def test_directives_of_a_fenced_coordinator_and_old_ones_are_dropped():
    """As agents do: the epoch and the sequence only rise."""
    active = ActiveVersion("m")
    assert active.on_directive(directive(5, ACTIVATE, 5, epoch=2))
    assert not active.on_directive(directive(6, ACTIVATE, 6, epoch=1))
    assert not active.on_directive(directive(5, ACTIVATE, 4, epoch=3))
    assert active.directive.version == 5
    assert active.on_directive(directive(7, ACTIVATE, 7, epoch=3))


def test_a_client_imports_little_beside_torch():
    """Beside an agent neither Kafka's client nor settings; without one, only the store that is used."""
    script = (
        "import sys; from headrace.weights import subscribe; import headrace.weights.worker.live; "
        "print(*{name.split('.')[0] for name in sys.modules}); import headrace.weights.worker.following; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    beside, alone = (set(line.split()) for line in done.stdout.splitlines())
    assert not beside & {"confluent_kafka", "pydantic", "redis", "fsspec", "faust", "grpc", "services"}
    assert not alone & {"redis", "fsspec", "faust", "grpc", "services"}
