"""Who may connect to the agent's socket: processes of its own user."""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.ckpt.agent.worker_socket import WorkerSocket

NOBODY = 65534
CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(sys.argv[1])
    except PermissionError:
        print("denied")
    else:
        s.settimeout(60)
        print("closed" if s.recv(1) == b"" else "answered")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may start a process of another user")
async def test_another_user_is_denied_by_the_file_and_turned_away_by_the_agent() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240 - nothing else runs
        path = Path(folder) / "agent.sock"
        served = WorkerSocket(path, lambda *_: None, lambda _: None)
        await served.open()
        try:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert await _as_nobody(path) == "denied"
            path.chmod(0o666)
            assert await _as_nobody(path) == "closed"
            assert not served._writers
        finally:
            await served.close()


async def _as_nobody(path: Path) -> str:
    done = await asyncio.to_thread(
        subprocess.run, ["/usr/bin/env", "python3", "-c", CONNECT, str(path)], user=NOBODY, capture_output=True,
        text=True, check=False, cwd="/", env={"PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"},
    )  # fmt: skip
    if done.returncode in (126, 127):
        pytest.skip("no Python that another user may run")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
