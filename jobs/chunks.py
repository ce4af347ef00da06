"""The stage `chunks`, or with `--student` a chunk search alone, over samples of that stage.

    ray job submit --working-dir . -- python -m jobs.chunks --config configs/....yaml
    ray job submit --working-dir . -- python -m jobs.chunks --student runs/demo/cwt/student \\
        --samples runs/demo/chunks --out s3://bucket/searched --method optimal --num-actors 16 \\
        --gpus-per-actor 0.5 --precision bf16

The search streams Parquet through a pool of actors on any number of nodes. stages/chunk_search.py describes
its input and output; `--student FOLDER --help` lists its options. Exit codes: 0 done, 1 failed, 2 wrong
input.
"""

import json
import sys
import traceback


def main(arguments: list[str]) -> int:
    if not any(argument.split("=", 1)[0] == "--student" for argument in arguments):
        from skipthink_ray import cli

        if {"-h", "--help"} & set(arguments):
            print(__doc__)
        return cli.main(["chunks", *arguments])

    from ray.exceptions import RayError
    from tyro.conf import OmitArgPrefixes

    from skipthink_ray.runtime.cluster import disconnect
    from skipthink_ray.runtime.progress import cause
    from skipthink_ray.settings import parse_options
    from skipthink_ray.stages.chunk_search import ChunkSearchConfig, run

    def failed(words: str, code: int) -> int:
        print(f"jobs.chunks: {words}", file=sys.stderr)
        return code

    try:
        try:
            summary = run(
                parse_options(
                    ChunkSearchConfig, arguments, "python -m jobs.chunks --student FOLDER", OmitArgPrefixes
                )
            )
        finally:
            disconnect()  # first, so that the summary is the last line printed
        print(json.dumps(summary))
    except RayError as error:
        return failed(cause(error), 2 if isinstance(error, ValueError) else 1)
    except ValueError as error:
        return failed(cause(error), 2)
    except Exception as error:  # noqa: BLE001  # report unexpected errors in one line
        traceback.print_exc()
        return failed(cause(error), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
