"""What a role's ports share: TLS, who may call, and what is noted. Made from the role's settings by its lifecycle."""

import ipaddress
import ssl
from collections.abc import Callable

from headrace.contracts.access import Scope
from headrace.runtime.access.audit import AuditLog
from headrace.runtime.access.errors import Refused
from headrace.runtime.access.guard import Guard, credential_of
from headrace.runtime.access.key_topic import KeyFeed
from headrace.runtime.access.keys import KeyRing
from headrace.runtime.access.rest import ASGIApp, Guarded, SessionCredentials
from headrace.runtime.access.tls import Certificates, Watch
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings


class Edge:
    """See the module. `start` before the first request, `stop` after the last.

    Raises:
        ConfigError: a setting is missing or wrong, or the role would answer anybody from anywhere.
    """

    def __init__(self, settings: ServiceSettings, role: str) -> None:
        self._settings, self._role = settings, role
        check_addresses(settings, role)
        self._certificates: list[Certificates] = []
        self.rest_tls = self._context("http/1.1")
        self.grpc_tls = self._context("h2")
        self._ring = KeyRing()
        self._feed: KeyFeed | None = None
        self._audit: AuditLog | None = None
        self._watch = Watch(self._certificates)
        self.guard: Guard | None = None
        """Decides; None where anybody may call, and before `start`."""

    def _context(self, protocol: str) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.tls_cert is None and settings.tls_key is None:
            if settings.tls_client_ca is not None:
                raise ConfigError("--tls-client-ca without --tls-cert", hint="TLS needs a certificate of the server's")
            return None
        if settings.tls_cert is None or settings.tls_key is None:
            raise ConfigError("--tls-cert and --tls-key go together", hint="name both, or none for plain text")
        made = Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca, (protocol,))
        self._certificates.append(made)
        return made.context

    def start(self) -> None:
        """Read the keys and follow them; blocks until they are all read.

        Raises:
            DependencyError: Kafka does not answer.
        """
        if self._certificates:
            self._watch.start()
        if self._settings.auth == "none":
            return
        self._audit = AuditLog(self._settings)
        self._feed = KeyFeed(self._settings, self._ring)
        self._feed.start()
        tokens = None
        if self._settings.oidc_issuer:
            from headrace.runtime.access.tokens import Tokens

            settings = self._settings
            tokens = Tokens(settings.oidc_issuer, settings.oidc_audience, settings.oidc_scope_claim)
        self.guard = Guard(self._ring, tokens, self._audit, role=self._role, instance=self._settings.instance)

    def stop(self) -> None:
        """Follow nothing any more, and write what is noted."""
        if self._certificates:
            self._watch.stop()
        if self._feed is not None:
            self._feed.stop()
        if self._audit is not None:
            self._audit.close()

    def guarded(
        self,
        app: ASGIApp,
        is_open: Callable[[str], bool] = lambda _: False,
        sessions: SessionCredentials | None = None,
    ) -> ASGIApp:
        """The app behind the guard; itself where anybody may call, and where it is behind it already."""
        if self.guard is None or isinstance(app, Guarded):
            return app
        return Guarded(app, self.guard, is_open, sessions)

    def may_read(self, authorization: str, api_key: str) -> bool:
        """Whether the holder of what these headers carry may see the ops server's figures."""
        if self._settings.auth == "none":
            return True
        guard = self.guard
        if guard is None:
            return False
        try:
            caller = guard.known(credential_of(authorization, api_key))
            if caller is None:
                return False
            guard.allow(caller, Scope.READ)
        except Refused:
            return False
        return True


def check_addresses(settings: ServiceSettings, role: str) -> None:
    """Refuse to answer anybody from anywhere, unless told to.

    Raises:
        ConfigError: the role would listen beyond this machine and ask nobody for a credential.
    """
    if settings.auth == "required" or settings.allow_unauthenticated:
        return
    for flag, host in (("--host", settings.host), ("--ops-host", settings.ops_host)):
        if host and not is_loopback(host):
            raise ConfigError(
                f"{role}: {flag} {host} would let anybody on the network in",
                hint="--auth required (keys by `headrace keys create`), or --allow-unauthenticated where a network "
                "policy keeps others out",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def call_headers(settings: ServiceSettings) -> dict[str, str]:
    """What a role sends when it calls another."""
    return {} if settings.api_key is None else {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}


def call_context(settings: ServiceSettings) -> ssl.SSLContext:
    """Whom a role trusts when it calls another; with its own certificate, where it has one.

    Raises:
        ConfigError: a file is missing or wrong.
    """
    try:
        made = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_cert is not None:
            made.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS: {settings.tls_ca or settings.tls_cert}: {error}", hint="--tls-ca") from error
    return made
