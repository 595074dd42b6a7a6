"""Following a fleet without an agent: what a client has to import."""

import subprocess
import sys


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
