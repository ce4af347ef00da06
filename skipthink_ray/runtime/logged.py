"""Runs a command with its output in a log file, and turns errors and signals into exit codes."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime.cluster import disconnect
from skipthink_ray.runtime.console import TERMINATED, say
from skipthink_ray.runtime.job import how_to_continue, job_name
from skipthink_ray.runtime.lock import end_if_superseded
from skipthink_ray.runtime.log_file import log_file
from skipthink_ray.runtime.progress import cause, quiet

LAST_RESORT_S = 180.0
"""Seconds after SIGTERM until a process that has not ended exits without cleaning up."""


def logged(config: PipelineConfig, work: Callable[[Console], object], folder: str | None = None) -> int:
    """Run `work` with its output in a log file. Returns the exit code, which `work` may return.

    A ValueError propagates. folder: as in `log_file`.
    """
    end_on_sigterm()
    lost = list[str]()
    end_if_superseded(partial(_end, lost))
    with log_file(config, folder) as log, quiet(log.path) as console:
        try:
            code = work(console)
        except ValueError:
            traceback.print_exc()  # to the log
            raise
        except SystemExit:  # SIGTERM
            if lost:
                say(console, f"skipthink: failed: {lost[0]}")
                return 1
            say(console, f"skipthink: terminated; {how_to_continue()}")
            return TERMINATED
        except Exception as error:  # noqa: BLE001  # report unexpected errors in one line; the log has the trace
            traceback.print_exc()
            if job_name():  # whose log may outlive this node
                say(console, traceback.format_exc())
            say(console, f"The full output is in {log.place()}\nskipthink: failed: {cause(error)}")
            return 1
        finally:
            disconnect()  # here, so that Ray's last messages still go to the log
    return code if isinstance(code, int) else 0


def _end(lost: list[str], reason: str) -> None:
    """End this process like SIGTERM, for a reason."""
    lost.append(reason)
    os.kill(os.getpid(), signal.SIGTERM)


def end_on_sigterm() -> None:
    """Let SIGTERM raise SystemExit in this thread, the main one."""

    def end(*_: object) -> None:
        timer = threading.Timer(LAST_RESORT_S, os._exit, (TERMINATED,))
        timer.daemon = True
        timer.start()
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
