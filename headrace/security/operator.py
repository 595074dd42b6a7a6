"""How the command line logs in to a secured run of this user's."""

from pathlib import Path

from headrace.platform.files import read_json

OPERATOR_FILE = "operator.json"


def operator_config(run_folder: Path) -> dict[str, str]:
    """Librdkafka properties of the principal `operator`; empty where the run's Kafka asks nobody."""
    found = read_json(run_folder / "platform" / "security" / OPERATOR_FILE)
    return {str(name): str(value) for name, value in (found or {}).items()}
