"""Stage 7: answers held-out questions in full (base), staged (cwt) and skip (stt) mode (method §6).

If the stage icot is on, its student answers too, in direct mode.

Artifact: `answers/` (ANSWER_SCHEMA: every question in every mode) and `latencies/` (LATENCY_SCHEMA: some
questions at batch 1, all modes in turn in one process). A pool of actors decodes the answers. Those of each
mode are an artifact of their own, so that base answers once for all runs that share it.
"""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.metrics import has_loop, percent
from skipthink_ray.method.modes import Mode, modes_of
from skipthink_ray.reporting.findings import evaluation_findings
from skipthink_ray.rows import ANSWER_SCHEMA, HELD_OUT, LATENCY_SCHEMA
from skipthink_ray.runtime import actors
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.board import Board
from skipthink_ray.runtime.lock import Lease
from skipthink_ray.stages.context import Context
from skipthink_ray.tasks import task_of

if TYPE_CHECKING:
    from skipthink_ray.models.student import Student


class AnswerQuestions:
    """In: a row group of samples and a mode. Out: the answers to its questions in this mode.

    An actor holds one student at a time. It gets the pieces of one mode after those of another, so it
    normally loads each student once.
    Its methods import transformers, which takes seconds, so that the driver does not.
    """

    def __init__(
        self, config: PipelineConfig, samples: Folder, folders: dict[Mode, Folder], board: Board
    ) -> None:
        self.config, self.samples, self.board, self.task = config, samples, board, task_of(config)
        self.folders = folders
        self.students: dict[Mode, Student] = {}

    def __call__(self, piece: pa.Table) -> pa.Table:
        rows = (
            actors.read_piece(piece, self.samples).filter(HELD_OUT[self.config.evaluation.split]).to_pylist()
        )
        mode: Mode = piece["mode"][0].as_py()
        if rows and mode not in self.students:
            self.students.clear()  # frees its memory before another is loaded
            self.students[mode] = _load(self.config, self.folders[mode])
        size = self.config.evaluation.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        answers = [answer for batch in batches for answer in self._answer(mode, batch)]
        self.board.advance(len(rows))
        return pa.Table.from_pylist(answers, schema=ANSWER_SCHEMA)

    def _answer(self, mode: Mode, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from skipthink_ray.models.decoding import answer_questions

        questions = [row["question_tokens"] for row in rows]
        started = time.perf_counter()
        limit = self.config.evaluation.max_new_tokens
        answers = answer_questions(self.students[mode], mode, questions, limit)
        seconds = (time.perf_counter() - started) / max(len(rows), 1)
        return [
            {
                "row": row["row"],
                "mode": mode,
                "text": answer.text,
                "answer": answer.answer,
                "right": self.task.check(answer.answer, row["answer"]),
                "tokens": answer.tokens,
                "stopped": answer.stopped,
                "loops": has_loop(answer.text),
                "batch_seconds": seconds,
            }
            for row, answer in zip(rows, answers, strict=True)
        ]


def make(context: Context) -> dict[str, Any]:
    """Write `answers/` and `latencies/`. Returns accuracy, mean tokens and shares of bad answers by mode."""
    config, samples = context.config, context.inputs["samples"]
    table = samples.table("samples")
    evaluated = HELD_OUT[config.evaluation.split]
    total = table.count_rows(filter=evaluated)
    folders: dict[Mode, Folder] = {
        mode: context.inputs[stage] for mode, stage in modes_of(context.inputs).items()
    }
    with context.line("answers", total * len(folders)) as line:
        answers, answered_before = _answers(context, folders, total, line.board)
        context.out.write_table("answers", answers)
        questions = table.to_table(columns=["row", "question_tokens"], filter=evaluated).sort_by("row")
        timed = questions.slice(0, config.evaluation.latency_questions).to_pylist()
        # In a trial of Ray Tune, a task without a strategy would have to fit into the trial's own resources.
        timing = ray.remote(scheduling_strategy="DEFAULT", **actors.resources(config.cluster))(_time_modes)
        context.out.write_table("latencies", ray.get(timing.remote(config, folders, timed)))
    summary = _summary(context, total)
    trained = {
        stage: context.inputs[stage].read_json("summary.json") for stage in modes_of(context.inputs).values()
    }
    warnings = context.warn(evaluation_findings(config, summary, trained))
    return {**summary, "answered_before": answered_before, "warnings": warnings}


def _answers(
    context: Context, folders: dict[Mode, Folder], total: int, board: Board
) -> tuple[pa.Table, list[Mode]]:
    """(ANSWER_SCHEMA in all modes, the modes that another run had answered). Decodes only the others."""
    with ExitStack() as stack:
        leases: dict[Mode, Lease | None] = {
            mode: stack.enter_context(table.making()) for mode, table in context.answers.items()
        }
        missing: dict[Mode, Folder] = {mode: folders[mode] for mode, lease in leases.items() if lease}
        answered_before: list[Mode] = [mode for mode in leases if mode not in missing]
        if answered_before:
            context.say(f"already answered in another run: {', '.join(answered_before)}")
            board.advance(total * len(answered_before))
        if missing:
            modes = [{"mode": mode} for mode in missing]
            samples, out = context.inputs["samples"], context.out.child("decoded")
            arguments = {"config": context.config, "samples": samples, "folders": missing, "board": board}
            actors.map_row_groups(
                samples, "samples", AnswerQuestions, arguments, out, context.config.cluster, modes
            )
        for mode, lease in leases.items():
            if lease:
                decoded = context.out.table("decoded").to_table(filter=pc.field("mode") == mode)
                context.answers[mode].write(decoded.sort_by("row"), lease)
        context.out.delete("decoded")
    return pa.concat_tables([table.read() for table in context.answers.values()]), answered_before


def _load(config: PipelineConfig, artifact: Folder) -> "Student":
    from skipthink_ray.models.student import load_student, place

    with artifact.local("student") as folder:
        student = load_student(folder, config.evaluation.precision)
    place(student, config.cluster)
    return student


def _time_modes(config: PipelineConfig, folders: dict[Mode, Folder], rows: list[dict[str, Any]]) -> pa.Table:
    """Time each question in every mode, one at a time, after a warm-up on the first question."""
    from skipthink_ray.models.decoding import answer_questions

    students: dict[Mode, Student] = {mode: _load(config, folder) for mode, folder in folders.items()}
    timings = []
    for number, row in enumerate([rows[0], *rows]):
        for mode in students:
            started = time.perf_counter()
            answer = answer_questions(
                students[mode], mode, [row["question_tokens"]], config.evaluation.max_new_tokens
            )[0]
            if number:
                seconds = time.perf_counter() - started
                timings.append({"row": row["row"], "mode": mode, "seconds": seconds, "tokens": answer.tokens})
    return pa.Table.from_pylist(timings, schema=LATENCY_SCHEMA)


def _summary(context: Context, total: int) -> dict[str, Any]:
    answers = context.out.table("answers").to_table(
        columns=["mode", "answer", "right", "tokens", "stopped", "loops"]
    )
    modes = modes_of(context.inputs)
    if answers.num_rows != total * len(modes):
        raise RuntimeError(
            f"evaluation: {total} questions in {len(modes)} modes gave {answers.num_rows} answers"
        )
    summary: dict[str, Any] = {"questions": total}
    for mode in modes:
        of_mode = answers.filter(pc.equal(answers["mode"], mode))
        summary[f"{mode}_accuracy_pct"] = 100 * pc.mean(of_mode["right"]).as_py()
        summary[f"{mode}_tokens"] = pc.mean(of_mode["tokens"]).as_py()
        summary[f"{mode}_format_errors_pct"] = percent(of_mode["answer"].is_null().to_numpy())
        summary[f"{mode}_at_limit_pct"] = percent(~of_mode["stopped"].to_numpy())
        summary[f"{mode}_loops_pct"] = percent(of_mode["loops"].to_numpy())
    context.say(
        ", ".join(
            f"{mode} {summary[f'{mode}_accuracy_pct']:.1f} % in {summary[f'{mode}_tokens']:.1f} tokens"
            for mode in modes
        )
    )
    return summary
