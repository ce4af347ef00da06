"""Write skipthink_ray/tasks/splits.json from a folder of JSON Lines files, one per task, with `question` and `split`.

    python -m tools.make_splits FOLDER

Prints the sizes, and the questions that stand on both sides.
"""

import json
import sys
from pathlib import Path

from skipthink_ray.tasks.splits import digest

OUT = Path(__file__).parents[1] / "skipthink_ray" / "tasks" / "splits.json"


def main(folder: Path) -> None:
    lists: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        sides = {
            side: {digest(row["question"]) for row in rows if row["split"] == side}
            for side in ("train", "test")
        }
        both = sides["train"] & sides["test"]
        sides["train"] -= both
        lists[file.stem] = {side: "".join(sorted(digests)) for side, digests in sides.items()}
        ids = [row["id"] for row in rows if digest(row["question"]) in both]
        print(
            f"{file.stem}: {len(rows)} rows, {', '.join(f'{len(d)} {side}' for side, d in sides.items())} questions; both sides: {ids}"
        )
    OUT.write_text(json.dumps(lists, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
