"""`skipthink rechunk`: search the chunks of any number of samples, and print the summary as JSON."""

import json
import signal
import sys
import traceback

from ray.exceptions import RayError

from skipthink_ray.config.rechunk import RechunkConfig
from skipthink_ray.rechunk.job import run
from skipthink_ray.runtime.cluster import disconnect
from skipthink_ray.runtime.console import TERMINATED
from skipthink_ray.runtime.job import how_to_continue
from skipthink_ray.runtime.progress import cause


def rechunk(config: RechunkConfig) -> int:
    """Run the search. Returns the exit code. Raises ValueError for errors the user can fix."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        try:
            summary = run(config)
        finally:
            disconnect()  # first, so that the summary is the last line printed
    except ValueError as error:  # also one of an actor, in which Ray puts pages of text around the cause
        raise ValueError(cause(error)) from error
    except SystemExit:  # SIGTERM
        print(f"skipthink: terminated; {how_to_continue()}", file=sys.stderr)
        return TERMINATED
    except Exception as error:  # noqa: BLE001  # report unexpected errors in one line
        if not isinstance(error, RayError):
            traceback.print_exc()
        print(f"skipthink: failed: {cause(error)}", file=sys.stderr)
        return 1
    print(json.dumps(summary))
    return 0
