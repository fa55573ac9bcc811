"""Starts and stops the real keyledger binary on a data directory."""

import signal
import subprocess
import threading
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 30


class Server:
    """A running server. `grpc` is where it listens; `log` is all it wrote to standard error."""

    def __init__(self, binary: Path, data_dir: Path, *options: str, grpc="127.0.0.1:0") -> None:
        command = [str(binary), "serve", "--data-dir", str(data_dir), "--grpc-addr", grpc]
        command += ["--ops-addr", "off", "--http-addr", "off", *options]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        ready = self._process.stdout.readline().split()
        watchdog.cancel()
        if ready[:1] != ["ready"]:
            self._process.wait(STOP_SECONDS)
            raise RuntimeError(f"keyledger did not start:\n{self.log}")
        self.grpc = dict(word.split("=", 1) for word in ready[1:])["grpc"]

    def _read_log(self) -> None:
        for line in self._process.stderr:
            self._lines.append(line)

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def stop(self) -> int:
        """Asks the server to stop and returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._reader.join(STOP_SECONDS)
            self._process.stdout.close()
