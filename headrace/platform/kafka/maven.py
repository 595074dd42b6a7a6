"""Jars from a Maven repository: Maven Central, or what HEADRACE_MAVEN_URL names.

Proxies and certificate authorities are those of the environment (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE).
"""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from headrace.platform.kafka.jar_cache import FetchError
from headrace.platform.kafka.jars import Jar
from headrace.runtime.errors import PlatformError

MAVEN_VARIABLE = "HEADRACE_MAVEN_URL"
_TIMEOUT_S = (10.0, 60.0)  # to connect, between two pieces
_PIECE = 1 << 16


class MavenFetch:
    """Fetches by coordinates with the resolver and the requests of maven-artifact, whose own downloader prints."""

    def __init__(self, base: str | None = None) -> None:
        self._base = base or os.environ.get(MAVEN_VARIABLE)

    @cached_property
    def _downloader(self) -> Any:
        """Made, and the package imported, for the first jar: mostly there is none to fetch."""
        try:
            from maven_artifact import Downloader
        except ImportError as error:
            raise PlatformError("maven-artifact is not installed", hint="pip install 'headrace[platform]'") from error
        return Downloader(self._base) if self._base else Downloader()

    def __call__(self, jar: Jar) -> Iterator[bytes]:
        """The jar's bytes.

        Raises:
            PlatformError: the package is not installed.
            FetchError: they cannot be had.
        """
        downloader = self._downloader
        import requests
        from maven_artifact import Artifact

        url = downloader.resolver.uri_for_artifact(Artifact(jar.group, jar.artifact, jar.version))
        try:
            with downloader.requestor.request(url, _fail, stream=True, timeout=_TIMEOUT_S) as response:
                yield from response.iter_content(_PIECE)
        except requests.RequestException as error:
            raise FetchError(f"{url}: {error}") from error


def _fail(url: str, error: Exception) -> Any:
    raise FetchError(f"{url}: {error}") from error
