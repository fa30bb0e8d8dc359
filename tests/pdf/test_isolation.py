"""What a taken-over pdf worker could not do."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONNECT = """
import socket, sys
if sys.argv[2] == "isolated":
    from signing_service.pdf.child import leave_the_network
    if not leave_the_network():
        print("refused by the kernel")
        raise SystemExit
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2).close()
    print("connected")
except OSError:
    print("nothing there")
"""


def tries_to_connect(port: int, how: str) -> str:
    done = subprocess.run([sys.executable, "-c", CONNECT, str(port), how], cwd=ROOT, capture_output=True, text=True,
                          check=True, env={"PYTHONPATH": str(ROOT)})
    return done.stdout.strip()


def test_a_worker_reaches_no_network_where_the_kernel_grants_a_namespace() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert tries_to_connect(port, "plain") == "connected"  # the same attempt, without the wall
        assert tries_to_connect(port, "isolated") in ("nothing there", "refused by the kernel")
