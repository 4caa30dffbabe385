"""Workers as processes of this machine: each drains the queue, on devices of its own."""

from __future__ import annotations

import os
import queue as queues
import subprocess
import threading
import time
from contextlib import suppress

from .sweep import Ended, Sweep
from .workers import command, devices, log, threads


class Processes:
    """A `Launcher`. A worker's number is also which of the allocation's devices it owns."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self.processes: dict[int, subprocess.Popen[str]] = {}
        self.heard: queues.Queue[tuple[int, str | Ended]] = queues.Queue()

    def start(self) -> int:
        number = next(i for i in range(len(self.processes) + 1) if i not in self.processes)
        environment = os.environ | threads(self.sweep) | devices(number, self.sweep.workers.gpus)
        with open(log(self.sweep), "a") as errors:
            process = subprocess.Popen(
                command(self.sweep),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to the parent alone
            )
        self.processes[number] = process
        threading.Thread(target=self._watch, args=(number, process), daemon=True).start()
        return number

    def _watch(self, number: int, process: subprocess.Popen[str]) -> None:
        reader = threading.Thread(target=self._read, args=(number, process), daemon=True)
        reader.start()
        status = process.wait()
        reader.join(5)  # its last words come first; a child of it may keep its output open
        self.heard.put((number, Ended(f"with status {status}" if status else "")))

    def _read(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.heard.put((number, line.rstrip("\n")))

    def hear(self, seconds: float) -> list[tuple[int, str | Ended]]:
        found = []
        with suppress(queues.Empty):
            found.append(self.heard.get(timeout=seconds))
            while True:
                found.append(self.heard.get_nowait())
        for number, said in found:
            if isinstance(said, Ended):
                del self.processes[number]
        return found

    def stop(self, seconds: float) -> None:
        for process in self.processes.values():
            process.terminate()
        until = time.monotonic() + seconds
        for process in self.processes.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                until = 0.0  # for the others as well
                process.kill()
                process.wait()
