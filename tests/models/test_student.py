"""A student keeps its markers, tokens and weights, for every architecture."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from skipthink_ray.config import StudentConfig
from skipthink_ray.method.markup import COMMON_MARKERS, STAGE_MARKER, stage_markers
from skipthink_ray.models.encoding import encode, sendable
from skipthink_ray.models.pretrained import check_pretrained
from skipthink_ray.models.student import (
    build_student,
    load_student,
    load_tokenizer,
    save_student,
    train_tokenizer,
    with_stages,
)
from tests.toys import ARCHITECTURES, make_student, new_student, written

NUM_CHUNKS = 12
"""More than nine, because `[1]` must not be found in `[12]`."""
TEXTS = [" Tom has 12 boxes of 345 pens.", " --> 17", "\n\nSo: 3.50, naïve, 猫 🙂 [x]", "42", " I'm  here.\t"]
WRITTEN_OUT = [
    " [answer] [1] [12][skip]",
    "[thought]",
    " a[1]b",
    "[pad][eos]",
    "<|endoftext|></s><s> <|im_end|>",
]


@pytest.fixture(scope="module", params=["scratch", *ARCHITECTURES])
def student(request, rows, checkpoints):
    if request.param == "scratch":
        return make_student(rows[:100], NUM_CHUNKS)
    return _prepare(checkpoints[request.param])


@pytest.fixture(scope="module")
def reloaded(student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    save_student(student, folder)
    return load_student(folder)


def _prepare(folder, num_chunks=NUM_CHUNKS):
    config = StudentConfig(pretrained=str(folder))
    return new_student(config, num_chunks)


def _marker_ids(student):
    return [*student.ids.stages, student.ids.answer, student.ids.skip, student.ids.thought]


def test_every_marker_is_one_token_of_its_own(student):
    names = [*stage_markers(NUM_CHUNKS), *COMMON_MARKERS]
    ids = [student.tokenizer(name, add_special_tokens=False)["input_ids"] for name in names]
    assert ids == [[marker] for marker in _marker_ids(student)]
    assert len(set(_marker_ids(student))) == NUM_CHUNKS + 3
    assert max(_marker_ids(student)) < student.model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize("architecture", ["scratch", "llama", "gpt2"])
def test_one_student_without_stages_serves_every_number_of_chunks(checkpoints, rows, architecture, tmp_path):
    def build(num_chunks):
        if architecture == "scratch":
            return make_student(rows[:100], num_chunks)
        return _prepare(checkpoints[architecture], num_chunks)

    bare = build(None)
    assert bare.ids.stages == ()
    assert bare.ids.answer < bare.model.get_input_embeddings().weight.shape[0]
    save_student(bare, tmp_path)
    for num_chunks in (2, 5):
        student, direct = with_stages(load_student(tmp_path), num_chunks, "mean", 0), build(num_chunks)
        assert student.ids == direct.ids
        assert len(student.ids.stages) == num_chunks
        weights, others = student.model.state_dict(), direct.model.state_dict()
        assert all(torch.equal(weights[name], others[name]) for name in others)
    with pytest.raises(ValueError, match="already has markers for 5 chunks"):
        with_stages(student, 5, "mean", 0)


def test_a_saved_student_is_the_same_student(student, reloaded):
    assert reloaded.ids == student.ids
    assert reloaded.pad_id == student.pad_id
    assert encode(reloaded.tokenizer, TEXTS + WRITTEN_OUT) == encode(student.tokenizer, TEXTS + WRITTEN_OUT)
    before, after = student.model.state_dict(), reloaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_in_bf16_the_weights_are_rounded_and_rotary_positions_are_not(student, tmp_path):
    save_student(student, tmp_path)
    rounded = load_student(tmp_path, "bf16").model
    for name, weight in student.model.named_parameters():
        assert torch.equal(rounded.get_parameter(name), weight.bfloat16()), name
    for name, buffer in student.model.named_buffers():
        if "rotary" in name:
            assert torch.equal(rounded.get_buffer(name), buffer), name


def test_a_marker_written_by_a_user_is_text(student, reloaded):
    for one in (student, reloaded):
        special = {*_marker_ids(one), one.ids.eos, one.pad_id, *one.tokenizer.all_special_ids}
        for text, ids in zip(WRITTEN_OUT, encode(one.tokenizer, WRITTEN_OUT), strict=True):
            assert not special & set(ids)
            assert one.tokenizer.decode(ids) == text


def test_text_is_encoded_without_loss_and_without_added_tokens(student, reloaded):
    for one in (student, reloaded):
        assert [one.tokenizer.decode(ids) for ids in encode(one.tokenizer, TEXTS)] == TEXTS
    assert encode(student.tokenizer, []) == []


def test_a_worker_without_transformers_encodes_the_same(student, reloaded):
    for one in (student, reloaded):
        sent = pickle.loads(pickle.dumps(sendable(one.tokenizer)))
        assert sent(TEXTS + WRITTEN_OUT) == encode(one.tokenizer, TEXTS + WRITTEN_OUT)
        assert sent([]) == []


def test_the_padding_token_is_neither_eos_nor_a_marker(student):
    assert student.pad_id not in {student.ids.eos, *_marker_ids(student)}
    assert student.model.config.pad_token_id == student.model.generation_config.pad_token_id == student.pad_id
    assert (
        student.model.config.eos_token_id == student.model.generation_config.eos_token_id == student.ids.eos
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_new_embedding_rows_are_the_mean_of_the_old_ones(architecture, checkpoints):
    config = StudentConfig(pretrained=str(checkpoints[architecture]))
    known = len(load_tokenizer(config, ()))
    student = _prepare(checkpoints[architecture])
    new = [*_marker_ids(student), *([student.pad_id] if student.pad_id >= known else [])]
    for layer in (student.model.get_input_embeddings(), student.model.get_output_embeddings()):
        assert layer.weight[:known].std() > 0.01
        torch.testing.assert_close(
            layer.weight[new], layer.weight[:known].mean(0).expand(len(new), -1), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_old_embedding_rows_and_all_other_weights_do_not_change(architecture, checkpoints):
    old = AutoModelForCausalLM.from_pretrained(checkpoints[architecture])
    before, after = old.state_dict(), _prepare(checkpoints[architecture]).model.state_dict()
    known = len(AutoTokenizer.from_pretrained(checkpoints[architecture]))
    for name, weight in before.items():
        same = known if len(weight) == old.config.vocab_size else len(weight)
        assert torch.equal(after[name][:same], weight[:same]), name


def test_a_student_from_scratch_depends_on_the_seed(rows):
    config = StudentConfig(layers=1, width=8, heads=2, vocabulary=300)
    weights = [
        new_student(config, 4, seed, written(rows[:20])).model.get_input_embeddings().weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_tokenizer_from_scratch_encodes_any_text_without_loss(rows):
    tokenizer = train_tokenizer(written(rows[:50]), 400)

    @given(st.text())
    def round_trip(text):
        # drop lone surrogates, which cannot be stored as UTF-8
        text = text.encode("utf-8", "ignore").decode()
        assert tokenizer.decode(encode(tokenizer, [text])[0]) == text

    round_trip()


def test_the_error_names_a_folder_without_a_tokenizer(checkpoints, tmp_path):
    folder = tmp_path / "only weights"
    shutil.copytree(checkpoints["gpt2"], folder, ignore=shutil.ignore_patterns("*token*"))
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))}.*no tokenizer"):
        check_pretrained(str(folder))


def test_a_folder_that_is_not_a_student_is_refused(tmp_path, checkpoints):
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        load_student(tmp_path)
    with pytest.raises(ValueError, match="lacks the markers"):
        load_student(checkpoints["gpt2"])


def test_a_width_that_rotary_positions_do_not_allow_is_refused(rows):
    with pytest.raises(ValueError, match=r"student\.width: 30 is not a multiple"):
        make_student(rows[:5], width=30, heads=2)


def test_a_student_that_was_trained_with_more_chunks_starts_again_with_fewer(checkpoints, tmp_path):
    """Its vocabulary keeps the other markers, but they do not count as stages, also after a round trip."""
    save_student(_prepare(checkpoints["llama"], 4), tmp_path / "four")
    two = _prepare(tmp_path / "four", 2)
    assert len(two.ids.stages) == 2
    save_student(two, tmp_path / "two")
    again = load_student(tmp_path / "two")
    assert again.ids == two.ids
    weight = two.model.get_input_embeddings().weight
    assert torch.equal(weight[two.ids.stages[0]], weight[two.ids.answer]), "both start at the mean"


def test_a_marker_in_a_text_is_not_the_marker_even_if_the_pretrained_tokenizer_knew_it(checkpoints, tmp_path):
    tokenizer = load_tokenizer(StudentConfig(pretrained=str(checkpoints["llama"])), ())
    tokenizer.add_tokens(["[1]"])  # as an ordinary token
    shutil.copytree(checkpoints["llama"], tmp_path / "known")
    tokenizer.save_pretrained(tmp_path / "known")
    bare = _prepare(tmp_path / "known", None)
    assert bare.ids.stages == ()
    (text,) = encode(bare.tokenizer, ["see [1] there"])
    student = with_stages(bare, 2, "mean", 0)
    assert student.ids.stages[0] not in text
    assert encode(student.tokenizer, ["see [1] there"]) == [text]


def _with_words(checkpoint: Path, folder: Path, *words: str) -> StudentConfig:
    """A pretrained student whose vocabulary has these words as its first tokens."""
    vocabulary = {word: at for at, word in enumerate([*words, "see", "there", "[unk]", "</s>"])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[unk]"))
    backend.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    shutil.copytree(checkpoint, folder)
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[unk]", eos_token="</s>").save_pretrained(
        folder
    )
    return StudentConfig(pretrained=str(folder))


@pytest.mark.parametrize("start", ["mean", "noise", "words"])
def test_a_marker_is_a_token_of_its_own_even_if_the_vocabulary_has_its_name(checkpoints, tmp_path, start):
    config = _with_words(checkpoints["llama"], tmp_path / "known", "[1]", "[3]")
    bare = build_student(config, load_tokenizer(config, ()), 0)
    text = encode(bare.tokenizer, ["see [1] there [2] [3]"])
    student = with_stages(bare, 3, start, 0)
    assert encode(student.tokenizer, ["see [1] there [2] [3]"]) == text
    assert not {*student.ids.stages} & {*text[0]}
    assert student.tokenizer.convert_ids_to_tokens(student.ids.stages) == ["[[1]]", "[2]", "[[3]]"]
    assert student.model.get_input_embeddings().weight.isfinite().all()
    save_student(student, tmp_path / "saved")
    assert load_student(tmp_path / "saved").ids == student.ids
    assert all(STAGE_MARKER.fullmatch(name) for name in ("[[1]]", "[2]"))
    assert not STAGE_MARKER.fullmatch("[[1]")


def test_a_vocabulary_with_the_name_of_a_common_marker_is_refused(checkpoints, tmp_path):
    config = _with_words(checkpoints["llama"], tmp_path / "known", "[answer]")
    with pytest.raises(ValueError, match=r"has \[answer\] as ordinary tokens"):
        load_tokenizer(config, ())


def test_a_folder_that_lacks_weights_is_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints["llama"], tmp_path / "part")
    file = tmp_path / "part/model.safetensors"
    weights = load_file(file)
    save_file(
        {name: tensor for name, tensor in weights.items() if ".mlp." not in name}, file, {"format": "pt"}
    )
    config = StudentConfig(pretrained=str(tmp_path / "part"))
    with pytest.raises(ValueError, match=r"lacks \d+ weights \(model.layers.0.mlp.*which would be random"):
        build_student(config, load_tokenizer(config, ()), 0)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"student.pretrained: no causal LM could be loaded from"):
        build_student(config, load_tokenizer(config, ()), 0)


def test_a_folder_without_a_student_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"is not a student's folder .*: it has no config\.json$"):
        load_student(tmp_path)


def test_a_students_folder_with_damaged_or_missing_weights_is_refused(rows, tmp_path):
    save_student(make_student(rows[:20]), tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    save_file({name: weights[name] for name in weights if ".mlp." not in name}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"is not a student's folder .*it lacks \d+ weights"):
        load_student(tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a student's folder"):
        load_student(tmp_path)


def test_a_folder_with_a_damaged_tokenizer_is_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints["llama"], tmp_path / "part")
    file = tmp_path / "part/tokenizer.json"
    definition = json.loads(file.read_text())
    definition["model"]["merges"].append(["zzq", "a"])
    file.write_text(json.dumps(definition))
    with pytest.raises(ValueError, match=r"student.pretrained: no tokenizer could be loaded from"):
        load_tokenizer(StudentConfig(pretrained=str(tmp_path / "part")), ())
