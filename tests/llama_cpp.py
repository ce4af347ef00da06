"""llama.cpp's OpenAI-compatible server on loopback: `python -m tests.llama_cpp MODEL.gguf`.

Prints `address URL` once it listens, and runs until it is terminated.
"""

import signal
import sys

import xllamacpp


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = model, 4096, 2
    params.cpuparams.n_threads = 2
    server = xllamacpp.Server(params)
    print(f"address {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
