"""llama.cpp's server over HTTP: started by ``tests/bench/daemon_peers.py`` alone.

It runs in the peers' interpreter, so it imports nothing of this project. Arguments: model file,
threads, calls at once, context tokens of each, threads of HTTP, ``flash`` or ``no-flash``. It
prints its address, and ends with its standard input.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    import xllamacpp

    model, threads, parallel, n_ctx, http, flash = sys.argv[1:]
    # Whatever the library prints goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_gpu_layers = 0
    params.n_parallel = int(parallel)
    params.n_ctx = int(parallel) * int(n_ctx)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    # One of its threads serves one connection that is kept: fewer would let clients wait.
    params.n_threads_http = int(http)
    params.verbosity = 0
    if flash == "no-flash":
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    print(server.listening_address, file=out, flush=True)
    sys.stdin.read()
    os._exit(0)  # Its own end waits for connections.


if __name__ == "__main__":
    main()
