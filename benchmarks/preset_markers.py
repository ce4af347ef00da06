"""Trains a student of its kind with every preset and shipped configuration: do its markers part?

    python -m benchmarks.preset_markers --rationales multiarith.jsonl --text gsm8k.jsonl
    python -m benchmarks.preset_markers --document docs/results.md      # updates the table of the document

Runs the stages up to cwt, with a few updates, as `skipthink` runs them. The preset gpt2 gets a student of
GPT-2's size with random weights, pretrained for some minutes on `--text`. It has 92 M parameters, because its
vocabulary is small. Each result is appended to `--results`; the next call goes on after the last one. The
last lines are a Markdown table and one JSON document.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.document import fill_tables
from benchmarks.evidence import finished

RESULTS = Path(__file__).with_name("preset_markers.jsonl")
CONFIGS = Path(__file__).parents[1] / "configs"
PRETRAINING = {"updates": 40, "batch": 4, "tokens": 128, "lr": 3e-4, "vocabulary": 8000}
STAGES = """
import sys
from skipthink_ray.cli import main

for stage in ("rationales", "samples", "cwt"):
    if main([stage, *sys.argv[1:]]):
        sys.exit(f"{stage} failed")
"""
"""One process for all stages, so that they share an import of torch."""
REAL = ("gpt2", "smollm2", "multiarith_small.yaml", "smollm2.yaml")
"""What trains on real rationales; the others train on toy questions."""
UPDATES = {
    "default": 300,
    "toy": 300,
    "tiny": 20,
    "gpt2": 48,
    "smollm2": 24,
    "multiarith_small.yaml": 160,
    "smollm2.yaml": 24,
    "toy_llc.yaml": 300,
    "toy_tso.yaml": 300,
}
"""Updates of cwt. tiny has 20 of its own; pretrained students need minutes for a few dozen."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rationales", type=Path, help="rationales of real MultiArith")
    parser.add_argument("--text", type=Path, help="JSON Lines with fields question and answer")
    parser.add_argument("--only", nargs="*", choices=list(UPDATES), default=list(UPDATES))
    parser.add_argument("--storage", type=Path, default=Path("runs/preset_markers"))
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="JSON Lines file, one line per finished configuration"
    )
    parser.add_argument("--document", type=Path, help="fill in the table of this document, run nothing")
    arguments = parser.parse_args()
    try:
        lines = finished(arguments.results)
    except ValueError as error:
        parser.error(str(error))
    if arguments.document:
        arguments.document.write_text(fill(arguments.document.read_text(), lines))
        return
    if not (arguments.rationales and arguments.text):
        parser.error("--rationales and --text are required")
    for name in arguments.only:
        if name in {line["configuration"] for line in lines}:
            continue
        lines.append(trained(name, arguments))
        with arguments.results.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    print(table(lines))
    print(json.dumps(lines))


def trained(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train cwt with a configuration. Raises CalledProcessError if a stage fails."""
    storage = arguments.storage.absolute()
    options = ["--config", str(CONFIGS / name)] if name.endswith(".yaml") else ["--preset", name]
    options += ["--storage-path", str(storage), "--name", name.removesuffix(".yaml") + "-markers"]
    options += ["--updates", str(UPDATES[name]), "--cluster.num-workers", "1", "--cluster.num-actors", "1"]
    if name in REAL:
        options += ["--task", "multiarith", "--rationales.source", "file"]
        options += ["--rationales.path", str(arguments.rationales.absolute())]
    if name == "gpt2":
        folder = pretrained_gpt2(storage / "gpt2", arguments.text)
        without_gpu = storage / "without_gpu.yaml"
        without_gpu.write_text("cluster: {use_gpu: false}\n")
        options += ["--config", str(without_gpu), "--student.pretrained", str(folder)]
        options += ["--cwt.num-chunks", "4"]
    subprocess.run([sys.executable, "-c", STAGES, *options], check=True)
    run = storage / (name.removesuffix(".yaml") + "-markers")
    summary = json.loads((run / "cwt" / "summary.json").read_text())
    return {"configuration": name, "cpus": os.cpu_count(), **summary}


def pretrained_gpt2(folder: Path, text: Path) -> Path:
    """A model of GPT-2's size that has read some text, in `folder`. Trains it if the folder is missing."""
    if (folder / "config.json").exists():
        return folder
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from skipthink_ray.config import StudentConfig
    from skipthink_ray.models.student import load_tokenizer

    rows = [json.loads(line) for line in text.read_text().split("\n") if line]
    texts = [f"{row['question']}\n{row['answer']}\n\n" for row in rows]
    student = StudentConfig(vocabulary=PRETRAINING["vocabulary"], max_tokens=1024)
    tokenizer = load_tokenizer(student, texts)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=PRETRAINING["lr"])
    tokens = torch.tensor(tokenizer("".join(texts))["input_ids"])
    size = PRETRAINING["batch"] * PRETRAINING["tokens"]
    for update in range(PRETRAINING["updates"]):
        batch = tokens[update * size : (update + 1) * size].view(PRETRAINING["batch"], -1)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"  GPT-2: update {update + 1}, loss {loss.item():.2f}", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fill(document: str, lines: list[dict[str, Any]]) -> str:
    """The document with its table updated from the results."""
    return fill_tables(document, "preset markers", lambda: table(lines))


def table(lines: list[dict[str, Any]]) -> str:
    rows = [
        "| configuration | parameters | updates | loss, nats | markers apart |",
        "| --- | --- | --- | --- | --- |",
    ]
    for line in sorted(lines, key=lambda line: [*UPDATES].index(line["configuration"])):
        rows.append(
            f"| {line['configuration']} | {line['parameters']:,} | {line['updates']} "
            f"| {line['final_loss_nats']:.3f} | {line['marker_separation']:.2f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
