"""The REST endpoints of shared memory: the system's, and CUDA's, of which nothing can be registered."""

from starlette.requests import Request
from starlette.responses import Response

from services.inference.oip.messages import InvalidRequest, Unsupported
from services.inference.oip.rest_codec import parse_json
from services.inference.oip.shared_memory import NO_CUDA, Regions
from services.inference.rpc.control.operations import Control
from services.inference.rpc.rest.bodies import as_json, body_of


class SystemRegions:
    """The endpoints of system shared memory."""

    def __init__(self, regions: Regions, control: Control) -> None:
        self._regions, self._control = regions, control

    async def status(self, request: Request) -> Response:
        """All regions, or one."""
        return as_json(self._regions.status(_region(request)))

    async def register(self, request: Request) -> Response:
        """Open a region, in every worker."""
        body = parse_json(await body_of(request))
        await self._control.register(_region(request), body.get("key"), body.get("offset", 0), body.get("byte_size"))
        return Response()

    async def unregister(self, request: Request) -> Response:
        """Close a region, or all."""
        await self._control.unregister(_region(request))
        return Response()


class CudaRegions:
    """The endpoints of CUDA shared memory. Load generators unregister all regions before they begin."""

    async def status(self, request: Request) -> Response:
        """There is none."""
        if region := _region(request):
            raise InvalidRequest(f"Unable to find shared memory region: '{region}'")
        return as_json([])

    async def register(self, _: Request) -> Response:
        """Refused."""
        raise Unsupported(NO_CUDA)

    async def unregister(self, _: Request) -> Response:
        """Done already."""
        return Response()


def _region(request: Request) -> str:
    return str(request.path_params.get("region", ""))
