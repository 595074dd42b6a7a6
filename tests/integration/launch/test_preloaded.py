"""What the fork server imports: all of it is there, and it leaves the process fit to be forked."""

import os
import subprocess
import sys

import pytest

from headrace.launch.fork.client import ForkServer
from headrace.launch.pipeline_run import NUMERICS

pytestmark = pytest.mark.skipif(not ForkServer.supported(), reason="forks roles on Linux only")

IMPORT = """
import os, sys
from headrace.launch.fork.preloaded import ANSWERING_MODULES, MODULES, import_all
missing = import_all(MODULES)
missing += import_all(ANSWERING_MODULES)
opened = [os.readlink(f"/proc/self/fd/{n}") for n in range(3, 20) if os.path.exists(f"/proc/self/fd/{n}")]
sockets = [one for one in opened if one.startswith("socket")]
services = [name for name in sys.modules if name.startswith("services.")]
print(missing, len(os.listdir("/proc/self/task")), sockets, services)
"""


def test_importing_all_starts_no_thread_and_no_client_and_leaves_out_nothing() -> None:
    # and no service's module, which would register its metrics in every role
    env = {**os.environ, **NUMERICS}
    done = subprocess.run([sys.executable, "-c", IMPORT], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1 [] []\n"
