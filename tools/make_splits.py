"""Write skipthink_ray/tasks/splits.json from a folder of JSON Lines files.

    python -m tools.make_splits FOLDER

The folder has one file per task, with the columns `id`, `question` and `split`. Prints the sizes and the ids
of the questions that are in both train and test.
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
        sizes = ", ".join(f"{len(digests)} {side}" for side, digests in sides.items())
        print(f"{file.stem}: {len(rows)} rows, {sizes} questions; in both train and test: {ids}")
    OUT.write_text(json.dumps(lists, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
