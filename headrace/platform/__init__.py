"""The local platform: where Kafka and Redis come from on one machine, and who keeps the services running.

`LocalPlatform` gives the two addresses, `Supervisor` runs roles as processes, `headrace.launch.runs` knows the run
folders.
"""

from headrace.platform.local import Endpoints, LocalPlatform, PlatformStatus, ServerStatus

__all__ = ["Endpoints", "LocalPlatform", "PlatformStatus", "ServerStatus"]
