"""GGUF files as students: logits, tokens, and errors for bad files. A tiny Llama is the source."""

import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipthink_ray.config import StudentConfig
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.pretrained import check_pretrained, resolve
from skipthink_ray.models.student import load_student, save_student
from tests.gguf_files import write_gguf
from tests.toys import new_student

TEXTS = [" Tom has 12 pens, 3.50 each. ###", "\n\n4 + 30 = 34", "  7", " it's naïve ½ 😀", "<s> [skip]"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SKIPTHINK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def written(checkpoints, tmp_path_factory) -> dict[str, Path]:
    """GGUF files of the same tiny Llama, by weight format and pre-tokenizer name."""
    folder = tmp_path_factory.mktemp("gguf")
    kinds = [
        ("F32", "gpt-2"),
        ("F32", "smollm"),
        ("F32", "unheard-of"),
        ("Q8_0", "smollm"),
        ("Q4_1", "smollm"),
    ]
    return {
        f"{kind} {pre}": write_gguf(folder / f"{kind}-{pre}.gguf", checkpoints["llama"], kind, pre)
        for kind, pre in kinds
    }


def _logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(5, 45)[None]).logits


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_a_gguf_file_gives_the_logits_of_the_model_it_was_written_from(written, checkpoints, kind):
    original = AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).eval()
    quantised = gguf.GGMLQuantizationType[kind]
    with torch.no_grad():
        for module in original.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = float(np.float32(module.variance_epsilon))  # as GGUF keeps it
        for weight in original.parameters():
            if weight.ndim > 1:
                weight.copy_(
                    torch.from_numpy(
                        gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), quantised), quantised)
                    )
                )
    folder = resolve(str(written[f"{kind} smollm"]))
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(_logits(model.eval()), _logits(original))


@pytest.mark.parametrize("pre", ["gpt-2", "smollm"])
def test_the_tokenizer_of_a_gguf_file_splits_as_the_file_says(written, checkpoints, pre):
    original = AutoTokenizer.from_pretrained(checkpoints["llama"])
    if pre == "smollm":
        without, digits = encode(original, TEXTS), pre_tokenizers.Digits(individual_digits=True)
        original.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        assert encode(original, TEXTS) != without
    said = []
    tokenizer = AutoTokenizer.from_pretrained(resolve(str(written[f"F32 {pre}"]), said.append))
    assert encode(tokenizer, TEXTS) == encode(original, TEXTS)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (original.eos_token, original.eos_token_id)
    assert not any("splits text" in text for text in said)


def test_an_unknown_pre_tokenizer_gives_a_notice(written):
    said = []
    resolve(str(written["F32 unheard-of"]), said.append)
    assert any("splits text as 'unheard-of', which transformers does not know" in text for text in said)


def test_a_student_from_a_gguf_file_is_ordinary_and_does_not_mention_the_file(written, tmp_path):
    config = StudentConfig(pretrained=str(written["Q8_0 smollm"]))
    student = new_student(config, 4)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert again.ids == student.ids
    assert torch.equal(_logits(again.model.eval()), _logits(student.model.eval()))
    assert (
        again.model.generation_config.eos_token_id
        == again.tokenizer.convert_tokens_to_ids("</s>")
        != again.pad_id
    )
    for file in (tmp_path / "student").glob("*.json"):
        assert not re.search(r"gguf|tmp", file.read_text(), re.IGNORECASE), file.name


def _bad(kind: str, whole: bytes) -> bytes:
    """A GGUF file truncated in its tensors or header, one of an unknown architecture, or a text file."""
    return {
        "cut tensors": whole[: len(whole) // 2],
        "cut header": whole[:500],
        "magic alone": whole[:4],
        "architecture": whole.replace(b"llama", b"lxama"),
        "text": b"no model\n" * 99,
        "empty": b"",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut tensors", "the GGUF file bad.gguf could not be read"),
        ("cut header", "the GGUF file bad.gguf could not be read"),
        ("magic alone", "the GGUF file bad.gguf could not be read"),
        (
            "architecture",
            "the GGUF file bad.gguf could not be read "
            "(GGUF model with architecture lxama is not supported yet.)",
        ),
        ("text", "bad.gguf is not a GGUF file"),
        ("empty", "bad.gguf is not a GGUF file"),
    ],
)
def test_the_error_for_a_bad_gguf_file_takes_one_line(written, tmp_path, cache, kind, words):
    (tmp_path / "bad.gguf").write_bytes(_bad(kind, written["F32 gpt-2"].read_bytes()))
    with pytest.raises(ValueError, match=r"student\.pretrained: ") as error:
        check_pretrained(str(tmp_path / "bad.gguf"))
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not cache.exists() or [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_gguf_file_without_all_weights_is_refused(checkpoints, tmp_path):
    write_gguf(tmp_path / "part.gguf", checkpoints["llama"], "F32", "gpt-2", left_out="up_proj")
    with pytest.raises(
        ValueError, match=r"the GGUF file part.gguf lacks 2 weights \(model.layers.0.mlp.up_proj.weight"
    ):
        check_pretrained(str(tmp_path / "part.gguf"))
