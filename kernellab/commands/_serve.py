"""A server as a child of this process: whoever ends one of the two ends both."""

import contextlib
import signal
import subprocess


def serve(server: subprocess.Popen, *others: subprocess.Popen) -> int:
    """Wait for a server; then end it and the others. Returns its exit code.

    Ctrl-C reaches the server as well, which may ask before it stops: this process waits for its
    answer. SIGTERM, which reaches this process alone, is passed on.
    """
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: server.terminate()),
    }
    try:
        return server.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        for process in (server, *others):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            process.wait()
