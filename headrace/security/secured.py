"""The embedded platform with SASL_SSL, mutual TLS, ACLs and a password for Redis.

The broker has two listeners: at the first, every role logs in by SCRAM-SHA-512 over TLS with a principal and a password
of its own; at the second, by a certificate (mutual TLS), as the broker's own administrator does. The controller takes
the broker's certificate alone. Whoever is not granted something is refused.

Passwords are made once, and kept with the authority's key in `<run>/platform/security`, which only its user can read.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from headrace.platform.files import read_json
from headrace.runtime.errors import DependencyError
from headrace.runtime.kafka import REQUEST_TIMEOUT_S
from headrace.security import acls
from headrace.security.certificates import Authority, write_private
from headrace.security.grants import GRANTS
from headrace.security.operator import OPERATOR_FILE

ADMINISTRATOR = "broker"
OPERATOR = "operator"
_ITERATIONS = 8192
_REDIS = "redis"


class Secured:
    """Implements `headrace.platform.security.PlatformSecurity`.

    Args:
        folder: where keys and passwords are kept: `<run>/platform/security`.
        pipelines: those whose topics the roles may use.
    """

    def __init__(self, folder: Path, pipelines: Iterable[str] = ()) -> None:
        self._folder, self._pipelines = folder, tuple(pipelines)
        self.authority = Authority(folder)
        self._broker = self.authority.pair(ADMINISTRATOR)
        self._passwords = _passwords(folder / "passwords.json", [*GRANTS, _REDIS])
        self.redis_password = self._passwords[_REDIS]

    def broker_config(self, port: int, tls_port: int, controller_port: int) -> Mapping[str, str]:
        """See `PlatformSecurity`."""
        host = "127.0.0.1"
        return {
            "listeners": f"SASL://{host}:{port},TLS://{host}:{tls_port},CONTROLLER://{host}:{controller_port}",
            "advertised.listeners": f"SASL://{host}:{port},TLS://{host}:{tls_port}",
            "listener.security.protocol.map": "SASL:SASL_SSL,TLS:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "TLS",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._broker.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMINISTRATOR}",
        }

    def admin_config(self) -> Mapping[str, str]:
        """See `PlatformSecurity`."""
        return self.certificate_config(ADMINISTRATOR)

    def client_config(self, principal: str) -> Mapping[str, str]:
        """See `PlatformSecurity`."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": principal,
            "sasl.password": self._passwords[principal],
            "ssl.ca.location": str(self.authority.file),
        }

    def certificate_config(self, principal: str) -> Mapping[str, str]:
        """How a principal connects at the second listener: by its certificate."""
        pair = self.authority.pair(principal)
        return {
            "security.protocol": "ssl",
            "ssl.ca.location": str(self.authority.file),
            "ssl.certificate.location": str(pair.certificate),
            "ssl.key.location": str(pair.key),
        }

    def prepare(self, admin: AdminClient) -> None:
        """See `PlatformSecurity`."""
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        wanted: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(name, how, self._passwords[name].encode(), secrets.token_bytes(32))
            for name in GRANTS
        ]
        for name, future in admin.alter_user_scram_credentials(wanted, request_timeout=REQUEST_TIMEOUT_S).items():
            try:
                future.result()
            except KafkaException as error:
                raise DependencyError(f"the broker does not take the password of {name}: {error}") from error
        acls.apply(admin, acls.permissions(self._pipelines))
        write_private(self._folder / OPERATOR_FILE, json.dumps(dict(self.client_config(OPERATOR))).encode())


def _passwords(file: Path, names: Iterable[str]) -> dict[str, str]:
    known = {str(name): str(value) for name, value in (read_json(file) or {}).items()}
    missing = {name: secrets.token_urlsafe(24) for name in names if name not in known}
    if missing:
        write_private(file, json.dumps({**known, **missing}, indent=2).encode())
    return {**known, **missing}
