"""The two ablations of CWT (method §8): no `[answer]` marker, and one chunk per step."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from skipthink_ray.config import CwtConfig, OptimConfig, PipelineConfig, SearchConfig, SkipsConfig
from skipthink_ray.identity import identify, stages_of
from skipthink_ray.method.chunking import energy
from skipthink_ray.method.markup import ARROW, MarkerIds, Sample, parse_conclusion, prompt, stage_item
from skipthink_ray.method.metrics import has_loop
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.ablation import Ablation
from skipthink_ray.models.contexts import Contexts
from skipthink_ray.models.decoding import STEP_LIMIT, answer_questions, generate, text_of
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.models.separation import marker_separation
from skipthink_ray.models.student import Student, load_student, save_student, with_stages
from skipthink_ray.preflight import check_settings
from skipthink_ray.rechunk.inputs import check_student_folder
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import TASKS
from skipthink_ray.training.batches import build_item, epoch_items, plan_updates
from skipthink_ray.training.plan import STEPS, planned_chunks, total_updates
from skipthink_ray.training.rechunk import concluded, rechunk
from tests.toys import make_samples, make_student, token_samples, train_briefly

NO_MARKER, PER_STEP = {"answer_marker": False}, {"num_chunks": "steps"}
ARMS = {"no marker": NO_MARKER, "per step": PER_STEP}
LIMIT, FIXED_M = 60, 3
OPTIM = OptimConfig(lr=4e-3)
EOS = 0


def _without_marker(num_chunks: int) -> MarkerIds:
    stages = tuple(range(101, 101 + num_chunks))
    return MarkerIds(stages, answer=stages[-1], skip=91, thought=92, eos=EOS, start=(99,))


def _per_step(num_chunks: int) -> MarkerIds:
    return MarkerIds((101,) * num_chunks, answer=90, skip=91, thought=92, eos=EOS, start=(99,))


def _samples(sizes_RM: list[list[int]]) -> Samples:
    """Rationales of the steps 10 11, 20, 30 31 32, ..; the answer is 80, the conclusion 70 80."""
    words = [[10, 11], [20], [30, 31, 32], [40]]
    steps = [words[: sum(sizes)] for sizes in sizes_RM]
    rows = len(steps)
    return token_samples(
        [[1, 2]] * rows, steps, [[80]] * rows, [[70, 80]] * rows, np.array(sizes_RM).cumsum(1)
    )


def _built(samples: Samples, ids: MarkerIds, stage: str = "cwt") -> list[tuple[list[int], list[int]]]:
    items = epoch_items(stage, CwtConfig(), samples, np.random.default_rng(0), None, ids)
    built = [build_item(items, number, samples, ids) for number in range(len(items.row_I))]
    assert items.tokens_I.tolist() == [len(item.prompt) + len(item.target) for item in built]
    assert items.targets_I.tolist() == [len(item.target) for item in built]
    return [(item.prompt, item.target) for item in built]


def test_without_the_marker_the_last_stage_writes_its_chunk_and_the_conclusion():
    assert sorted(_built(_samples([[1, 2], [1, 0]]), _without_marker(2))) == sorted(
        [
            ([99, 101, 1, 2], [10, 11, EOS]),
            ([99, 102, 1, 2, 10, 11], [20, 30, 31, 32, 70, 80, EOS]),
            ([99, 101, 1, 2], [10, 11, EOS]),
            ([99, 102, 1, 2, 10, 11], [70, 80, EOS]),  # its last chunk is empty
        ]
    )


def test_one_chunk_per_step_teaches_each_step_then_an_empty_chunk_then_the_answer():
    """The second rationale has fewer steps. Its second empty chunk has no item."""
    assert sorted(_built(_samples([[1, 1, 0], [1, 0, 0]]), _per_step(3))) == sorted(
        [
            ([99, 1, 2, 101], [10, 11, EOS]),
            ([99, 1, 2, 10, 11, 101], [20, EOS]),
            ([99, 1, 2, 10, 11, 20, 101], [EOS]),
            ([99, 90, 1, 2, 10, 11, 20], [80, EOS]),
            ([99, 1, 2, 101], [10, 11, EOS]),
            ([99, 1, 2, 10, 11, 101], [EOS]),
            ([99, 90, 1, 2, 10, 11], [80, EOS]),
        ]
    )


@pytest.mark.parametrize("ids", [_without_marker(3), _per_step(3)])
def test_skip_items_and_full_items_are_those_of_the_method(ids):
    samples = _samples([[1, 1, 0]])
    skip = ([99, 91, 1, 2], [10, 11, 20, 70, 80, EOS])
    assert _built(samples, ids, "stt") == [*_built(samples, ids), skip]
    assert _built(samples, ids, "base") == [([99, 1, 2], [10, 11, 20, 70, 80, EOS])]


@pytest.mark.parametrize("stage", ["base", "cwt", "stt"])
@pytest.mark.parametrize("match", ["updates", "epochs"])
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("arm", ARMS)
def test_updates_are_counted_as_they_are_planned(arm, grouped, match, stage, tmp_path):
    steps = [1, 2, 2, 3, 4, 4, 4]
    cwt = {**ARMS[arm], "epochs": 1, "batch_size": 3, "stage_updates": "grouped" if grouped else "mixed"}
    own = {"epochs": 1, "batch_size": 3, "stage_updates": cwt["stage_updates"]}
    config = PipelineConfig.model_validate({"match": match, "cwt": cwt, "base": own, "stt": own})
    folder = Folder.open(str(tmp_path))
    folder.write_json(STEPS, {str(number): steps.count(number) for number in set(steps)})
    num_chunks, _ = planned_chunks(config, folder)
    assert num_chunks == (5 if arm == "per step" else 4)
    samples = _samples([[1] * number + [0] * (num_chunks - number) for number in steps])
    ids = (_per_step if arm == "per step" else _without_marker)(num_chunks)
    planned = "cwt" if match == "updates" else stage
    rng, settings = np.random.default_rng(0), getattr(config, planned)
    items = epoch_items(planned, settings, samples, rng, None, ids)
    expected = len(plan_updates(items, settings, rng))
    assert total_updates(config, stage, folder, len(steps)) == expected


@dataclass(frozen=True)
class Taught:
    student: Student
    samples: Samples
    """What it was taught, and as many other samples."""

    @property
    def questions(self) -> list[list[int]]:
        return [self.samples.question[row].tolist() for row in range(len(self.samples))]


def _taught(rows, config: CwtConfig, updates: int, folder: Path) -> Taught:
    bare = make_student(rows[:12], None, width=48, vocabulary=500, prompt_start="\n")
    num_chunks = FIXED_M
    if config.num_chunks == "steps":
        num_chunks = int(make_samples(rows[:12], bare.tokenizer).step_tokens.lengths.max()) + 1
    student = with_stages(bare, num_chunks, "mean", 0, config)
    make = partial(make_samples, tokenizer=student.tokenizer, num_chunks=num_chunks)
    train_briefly(student, make(rows[:12]), "cwt", config, updates)
    save_student(student, folder)
    reloaded = load_student(folder)
    assert reloaded.ids == student.ids
    return Taught(reloaded, make(rows[:24]))


@pytest.fixture(scope="module")
def without_marker(rows, tmp_path_factory):
    search = {"method": "optimal"}
    config = CwtConfig.model_validate({**NO_MARKER, "batch_size": 16, "optim": OPTIM, "search": search})
    return _taught(rows, config, 150, tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def per_step(rows, tmp_path_factory):
    config = CwtConfig.model_validate({**PER_STEP, "batch_size": 16, "optim": OPTIM})
    return _taught(rows, config, 200, tmp_path_factory.mktemp("student"))


def _staged(student: Student, question: list[int], markers: list[int]) -> tuple[list[list[int]], list[int]]:
    """Literal: (what each marker gives, the chunks so far). Stops after an empty chunk of a shared marker."""
    written, context = [], []
    for marker in markers:
        ids = generate(student, [prompt(student.ids, marker, question, context)], LIMIT)[0]
        written.append(ids)
        context += [token for token in ids if token != student.ids.eos]
        if ids == [student.ids.eos] and student.ids.chunk_per_step:
            break
    return written, context


def test_without_the_marker_the_answer_is_what_the_last_stage_concludes(without_marker):
    student, questions = without_marker.student, without_marker.questions
    assert len(student.ids.markers) == FIXED_M + 2
    answers, right = answer_questions(student, "staged", questions, LIMIT), 0
    for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        written, context = _staged(student, question, [*student.ids.stages])
        assert answer.text == text_of(student, context)
        assert answer.answer == parse_conclusion(answer.text)
        assert answer.tokens == sum(map(len, written))
        assert answer.stopped == all(ids[-1] == student.ids.eos for ids in written)
        right += answer.answer == without_marker.samples.table["answer"][row].as_py()
    assert right >= 10, "it knows most of the 12 questions that it was taught"


def test_with_one_chunk_per_step_the_student_ends_its_chunks_by_an_empty_one(per_step):
    student, questions = per_step.student, per_step.questions
    assert len(student.ids.markers) == 4
    most = STEP_LIMIT * len(student.ids.stages)
    answers, counts, right = answer_questions(student, "staged", questions, LIMIT), set[int](), 0
    for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        written, context = _staged(student, question, [student.ids.stages[0]] * most)
        last = generate(student, [prompt(student.ids, student.ids.answer, question, context)], LIMIT)[0]
        text = text_of(student, last).strip()
        assert (answer.text, answer.answer) == (f"{text_of(student, context)} --> {text}", text or None)
        assert answer.tokens == sum(map(len, written)) + len(last)
        assert answer.stopped == (
            written[-1] == [student.ids.eos] and all(ids[-1] == student.ids.eos for ids in [*written, last])
        )
        counts.add(len(written))
        right += answer.answer == per_step.samples.table["answer"][row].as_py()
    assert right >= 10
    assert len(counts) > 1, "rationales have different numbers of steps"


def test_a_student_that_never_ends_its_chunks_is_cut_and_counted(per_step, monkeypatch):
    """Its empty chunks become a step that it repeats for ever."""
    student, questions = per_step.student, per_step.questions[:4]
    eos, (word,) = student.ids.eos, student.tokenizer(" pens", add_special_tokens=False)["input_ids"][:1]
    asked = []

    def endless(student: Student, prompts: list[list[int]], limit: int) -> list[list[int]]:
        asked.append(len(prompts))
        return [[word, eos] for _ in prompts]

    monkeypatch.setattr("skipthink_ray.models.decoding.generate", endless)
    answers = answer_questions(student, "staged", questions, LIMIT)
    chunks = STEP_LIMIT * len(student.ids.stages)
    assert asked == [4] * (chunks + 1)
    for answer in answers:
        assert answer.tokens == 2 * (chunks + 1)
        assert not answer.stopped
        assert has_loop(answer.text)


@torch.no_grad()
def test_without_the_marker_the_search_uses_the_losses_of_the_items(without_marker):
    """loss(M, c_M) includes the conclusion."""
    student, samples = without_marker.student, without_marker.samples
    rows = np.flatnonzero(samples.step_tokens.lengths > FIXED_M)
    whole_RM = np.repeat(samples.ends_RM[rows, -1:], FIXED_M, axis=1)
    losses = stage_losses(student.model, student.ids, concluded(samples), rows, whole_RM)
    for row, found in zip(rows, energy(losses, samples.ends_RM[rows]), strict=True):
        literal = 0.0
        for stage in range(FIXED_M):
            item = stage_item(samples.sample(row), student.ids, stage)
            tokens = torch.tensor([[*item.prompt, *item.target]])
            logits = student.model(input_ids=tokens).logits[0, len(item.prompt) - 1 : -1]
            literal += float(cross_entropy(logits, torch.tensor(item.target)))
        assert found == pytest.approx(literal, rel=1e-4)
    search = SearchConfig(method="optimal")
    found = rechunk(student.model, student.ids, samples, search, (0, 0))
    assert found.samples.rationale.values.tolist() == samples.rationale.values.tolist()
    assert (found.samples.ends_RM[:, -1] == samples.ends_RM[:, -1]).all()


def test_without_the_marker_the_skip_search_gives_the_trigger_after_the_chunks(without_marker):
    student, samples = without_marker.student, list(without_marker.samples)
    config = SkipsConfig(judge="writing", max_new_tokens=8, max_chunk_tokens=LIMIT)
    contexts = Contexts(student, samples, config)
    (trigger,) = student.tokenizer(" -->", add_special_tokens=False)["input_ids"]
    random, rows = np.random.default_rng(0), np.arange(len(samples))
    for written_from in (3, 0, 2, 1):
        kept_AM = random.random((len(rows), FIXED_M)) < 0.6
        kept_AM[:, written_from:] = False
        for row, kept, one in zip(rows, kept_AM, contexts.write(rows, kept_AM, written_from), strict=True):
            shown = _shown(samples[row], kept)
            for stage in range(written_from, FIXED_M):
                asked = prompt(student.ids, student.ids.stages[stage], samples[row].question, shown)
                ids = generate(student, [asked], LIMIT)[0]
                end = ids.index(trigger) if trigger in ids else len(ids)
                shown += [token for token in ids[:end] if token != student.ids.eos]
            asked = prompt(student.ids, student.ids.stages[-1], samples[row].question, [*shown, trigger])
            assert one.ids == generate(student, [asked], 8)[0]


def _shown(sample: Sample, kept: np.ndarray) -> list[int]:
    return [token for chunk, keep in zip(sample.chunks, kept, strict=True) if keep for token in chunk]


@pytest.mark.parametrize("arm", ["without_marker", "per_step"])
def test_a_skip_search_finds_chunks_to_skip(arm, request):
    taught: Taught = request.getfixturevalue(arm)
    ablation = Ablation([taught.student], TASKS["multiarith"], SkipsConfig(), taught.samples)
    kept_RM, right_R = ablation.find()
    assert right_R[:12].mean() > 0.5, "from all chunks it knows what it was taught"
    assert kept_RM[right_R].sum() < taught.samples.present_RM[right_R].sum()
    assert (kept_RM[~right_R] == taught.samples.present_RM[~right_R]).all()


def test_a_trigger_is_the_conclusion_up_to_the_arrow(without_marker):
    contexts = Contexts(without_marker.student, [*without_marker.samples], SkipsConfig())
    for sample, (trigger, answer) in zip(without_marker.samples, contexts.answers, strict=True):
        assert [*trigger, *answer] == sample.conclusion
        assert text_of(without_marker.student, trigger).endswith(ARROW)


def test_the_distance_of_markers_does_not_compare_a_marker_with_itself(per_step):
    assert marker_separation(per_step.student, "cwt")["marker_separation"] > 0


def test_a_single_marker_has_no_distance(rows):
    student = make_student(rows[:24], num_chunks=1)
    alone = replace(student, ids=replace(student.ids, answer=student.ids.stages[0]))
    assert marker_separation(alone, "cwt") == {}


def test_a_student_with_one_chunk_per_step_is_refused_by_a_search(per_step, tmp_path):
    save_student(per_step.student, tmp_path)
    with pytest.raises(ValueError, match="writes one chunk per step, so there is nothing to search"):
        check_student_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cwt": {**PER_STEP, **NO_MARKER}}, "cwt.answer_marker: false needs a last chunk"),
        ({"cwt": PER_STEP, "skips": {"judge": "writing"}}, "set --skips.judge reading"),
    ],
)
def test_what_one_chunk_per_step_does_not_allow_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        check_settings(PipelineConfig.model_validate(fields))


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_makes_cwt_again_and_base_only_if_its_updates_change(arm):
    for fields, changed in (({}, {"base"}), ({"updates": 10}, set()), ({"match": "epochs"}, set())):
        usual = identify(PipelineConfig.model_validate(fields))
        other = identify(PipelineConfig.model_validate({**fields, "cwt": ARMS[arm]}))
        differ = {stage for stage in stages_of(PipelineConfig()) if usual[stage] != other[stage]}
        assert differ == {"cwt", "skips", "stt", "evaluation", "report"} | changed
