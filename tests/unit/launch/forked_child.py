"""What the fork server's tests have it run, `python -m forked_child WHAT`: it tells about itself in its log."""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path


def about() -> dict[str, object]:
    return {
        "argv": sys.argv[1:],
        "name": __name__,
        "parent": os.getppid(),
        "session": os.getsid(0) == os.getpid(),
        "threads": threading.active_count(),
        "variables": sorted(name for name in os.environ if name.startswith("ROLE_")),
        "random": random.random(),
        "stdin": sys.stdin.read(),
        "descriptors": sorted(int(one.name) for one in Path("/proc/self/fd").iterdir() if int(one.name) > 2),
        "preloaded": sys.argv[-1] in sys.modules,
    }


what = sys.argv[1]
if what == "about":
    print(json.dumps(about()))
elif what == "wait":
    signal.pause()
elif what == "raise":
    raise ValueError("no such thing")
elif what == "thread":  # the process ends when its last thread has, and runs what is registered for its end
    import atexit

    atexit.register(print, "at exit")
    threading.Thread(target=lambda: (time.sleep(0.05), print("thread ended"))).start()
else:
    sys.exit(int(what) if what.isdigit() else what)
