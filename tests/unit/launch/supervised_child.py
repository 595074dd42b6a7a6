"""A small role for the supervisor's tests, `python -m supervised_child ROLE`, with an endpoint file and /readyz."""

import http.server
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from headrace.runtime.endpoints import EndpointFile

RUN_DIR, INSTANCE, ROLE = Path(os.environ["HEADRACE_RUN_DIR"]), os.environ["HEADRACE_INSTANCE"], sys.argv[1]


def note(what: str) -> None:
    with (RUN_DIR / "history").open("a") as file:
        file.write(f"{what} {INSTANCE}\n")


class Ops(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"weights": "not yet"}' if ROLE == "unready" else b"{}"
        self.send_response(503 if ROLE == "unready" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ROLE == "stubborn" else lambda *_: stop.set())
    if ROLE == "stubborn":
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        (RUN_DIR / "grandchild").write_text(str(child.pid))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ops)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoints = EndpointFile(RUN_DIR, ROLE, INSTANCE)
    endpoints.add("ops", f"http://127.0.0.1:{server.server_port}")
    stop.wait()
    note("stopped")
    endpoints.remove()


note("started")
if ROLE == "crash":
    sys.exit(print("something is broken", file=sys.stderr) or 9)
elif ROLE == "misconfigured":
    sys.exit(print("no such pipeline", file=sys.stderr) or 2)
elif ROLE != "work":
    serve()
