"""The parts of data sets from settings."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from headrace.datasets.announcing import Announcer, KafkaAnnouncer
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.storing.folder import FolderStore
from headrace.datasets.storing.port import SetStore
from headrace.runtime.settings import ServiceSettings
from headrace.weights.opening import is_file

FOLDER = "datasets"


def open_sets(settings: ServiceSettings) -> SetStore:
    """The store of data sets: `datasets` below `storage_url`, or below `storage_dir`.

    Raises:
        ConfigError: `storage_url` names no store that can be opened.
    """
    url = settings.storage_url
    if not url:
        return FolderStore(settings.storage_folder / FOLDER)
    if is_file(url):
        return FolderStore(Path(url2pathname(urlsplit(url).path)) / FOLDER)
    from headrace.datasets.storing.objects import ObjectStore

    return ObjectStore(f"{url.rstrip('/')}/{FOLDER}", settings.storage_folder / "datasets-cache")


def open_catalogue(settings: ServiceSettings) -> Catalogue:
    """All data sets of the settings' store."""
    return Catalogue(open_sets(settings))


@dataclass(frozen=True)
class Access:
    """What making and removing sets takes: the sets, whom to tell, and where Kafka is."""

    catalogue: Catalogue
    announcer: Announcer
    settings: ServiceSettings


def open_access(settings: ServiceSettings) -> Access:
    """By the settings; Kafka is asked when it is needed.

    Raises:
        ConfigError: `storage_url` names no store that can be opened.
    """
    return Access(open_catalogue(settings), KafkaAnnouncer(settings), settings)
