"""What a secured platform needs, as `LocalPlatform` asks for it; `headrace.security.secured` has it."""

from collections.abc import Mapping
from typing import Protocol

from confluent_kafka.admin import AdminClient


class PlatformSecurity(Protocol):
    """Listeners, credentials and permissions of the embedded Kafka and Redis."""

    redis_password: str

    def broker_config(self, port: int, tls_port: int, controller_port: int) -> Mapping[str, str]:
        """Broker settings: clients with a password at `port`, with a certificate at `tls_port`."""
        ...

    def admin_config(self) -> Mapping[str, str]:
        """How the platform's own client connects, at `tls_port`: librdkafka properties."""
        ...

    def client_config(self, principal: str) -> Mapping[str, str]:
        """How a principal connects, at `port`: librdkafka properties."""
        ...

    def prepare(self, admin: AdminClient) -> None:
        """Have a broker that answers know every principal, its password and its permissions.

        Raises:
            DependencyError: it refused.
        """
        ...
