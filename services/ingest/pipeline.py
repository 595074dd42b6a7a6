"""The pipeline that both roles of ingest read and write records of."""

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings


def load(role: str, settings: ServiceSettings) -> Pipeline:
    """The pipeline named by the settings, its topics there."""
    if settings.pipeline is None:
        raise ConfigError(f"{role}: no pipeline", hint="--pipeline FOLDER")
    pipeline = load_pipeline(settings.pipeline)
    kafka.ensure_topics(settings, pipeline.topics)
    return pipeline
