"""Processes that tests start, with their output in a file."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT


@dataclass
class Started:
    """A process, and the file that receives its output."""

    process: subprocess.Popen[bytes]
    screen: Path

    def text(self) -> str:
        return self.screen.read_text(errors="replace")

    def wait_for(self, text: str, after: int = 0) -> int:
        """Wait until the output has the text. Returns where. after: where to look from."""
        deadline = time.monotonic() + 300
        while (at := self.text().find(text, after)) < 0:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"no '{text}' in:\n{self.text()}"
            time.sleep(0.2)
        return at

    def says(self, text: str) -> bool:
        """Whether the output has the text before the process ends."""
        while self.process.poll() is None and text not in self.text():
            time.sleep(0.2)
        return text in self.text()

    def end(self) -> int:
        return self.process.wait(900)  # other work may share the processors


def start(screen: Path, environment: dict[str, str], *command: str) -> Started:
    """Start a command in the project's folder, in a process group of its own."""
    with open(screen, "wb") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Started(process, screen)
