"""The job whose driver this process is, if `ray job submit` started it."""

import json
import os

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable for the driver of a submitted job."""


def job_name() -> str:
    """The job's submission id; empty in a process that no job started."""
    config = json.loads(os.environ.get(JOB, "{}"))
    return config.get("metadata", {}).get("job_submission_id", "")


def how_to_continue() -> str:
    """What the user does to go on after a stop."""
    return f"{'submit the same job' if job_name() else 'run the same command'} again to continue"
