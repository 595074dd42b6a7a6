"""Settings come from defaults, then the environment, then flags; what is wrong is named; secrets are masked."""

from pathlib import Path

import pytest

from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, describe, load


class Settings(ServiceSettings):
    batch: int = 1


def test_a_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Settings, "x").batch == 1
    monkeypatch.setenv("HEADRACE_BATCH", "2")
    assert load(Settings, "x").batch == 2
    assert load(Settings, "x", ["--batch", "3"]).batch == 3


def test_kafka_and_redis_are_named_as_everybody_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:1")
    monkeypatch.setenv("REDIS_URL", "redis://cache:2/0")
    settings = load(Settings, "x")
    assert (settings.kafka_bootstrap_servers, settings.redis_url) == ("broker:1", "redis://cache:2/0")
    assert load(Settings, "x", ["--kafka-bootstrap-servers", "other:9"]).kafka_bootstrap_servers == "other:9"


def test_every_wrong_value_is_named_with_its_flag() -> None:
    with pytest.raises(ConfigError, match=r"--ops-port.*--log-level") as caught:
        load(Settings, "x", ["--ops-port", "70000", "--log-level", "loud"])
    assert "70000" in str(caught.value)


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="--nope"):
        load(Settings, "x", ["--nope", "1"])


def test_a_word_too_many_is_named() -> None:
    with pytest.raises(ConfigError, match="arguments: examples/rides "):
        load(Settings, "x", ["examples/rides", "--ops-port", "0"])


def test_the_text_of_settings_shows_no_secret() -> None:
    settings = load(Settings, "x", ["--redis-url", "redis://me:hush@h/0", "--kafka-config", "sasl.password=hush"])
    assert "hush" not in f"{settings!r} {settings}"
    assert settings.kafka_config == {"sasl.password": "hush"}


def test_the_role_fills_in_a_unique_instance_and_the_folders(tmp_path: Path) -> None:
    settings = load(Settings, "stream", ["--run-dir", str(tmp_path)])
    assert settings.instance.startswith("stream-")
    assert settings.storage_folder == tmp_path / "storage"


def test_what_is_printed_masks_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA_CONFIG", '{"sasl.password": "hush1", "security.protocol": "SASL_SSL"}')
    shown = str(describe(load(Settings, "x", ["--redis-url", "redis://me:hush2@h/0", "--signing-key", "hush3"])))
    assert "hush" not in shown
    assert "SASL_SSL" in shown
    assert "redis://me:***@h/0" in shown
