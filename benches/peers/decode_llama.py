"""Greedy decoding with llama.cpp, several sequences at once, through llama-cpp-python's low-level functions.

    python decode_llama.py --model FILE.gguf --prompts ids.jsonl --batch 8 --tokens 128 --threads 2

A line of the prompts is {"ids": [...]}, tokens of the model's vocabulary; no end token ends a completion. Prompts are
decoded --batch at a time, each step one llama_decode of a token a sequence; the largest logit is found with numpy.
Timing covers prompts and new tokens, not loading. The first line printed says which instruction sets llama.cpp was
built with and where its weights lie (an AMX buffer has those that its AMX kernels can use); then the new ids of each
prompt; the last has tokens, seconds, tokens_per_second and peak_rss_mb.
"""

import argparse
import ctypes
import json
import resource
import sys
import time

import llama_cpp
import numpy as np


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--prompts", required=True)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    log = []
    # Kept in a variable: the library holds no reference.
    on_log = llama_cpp.llama_log_callback(lambda _level, text, _user: log.append(text.decode("utf-8", "replace")))
    llama_cpp.llama_log_set(on_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(args.model.encode(), llama_cpp.llama_model_default_params())
    if not model:
        sys.exit(f"{args.model}: llama.cpp cannot load it:\n" + "".join(log)[-2000:])
    with open(args.prompts, encoding="utf-8") as file:
        prompts = [json.loads(line)["ids"] for line in file]
    room = -(-(max(map(len, prompts)) + args.tokens) // 256) * 256
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max = room * args.batch, args.batch
    params.n_batch = max(2048, args.batch * max(map(len, prompts)))
    params.n_threads = params.n_threads_batch = args.threads
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        sys.exit("llama.cpp makes no context:\n" + "".join(log)[-2000:])
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    buffers = [line.strip() for line in "".join(log).splitlines() if "buffer size" in line]
    print(json.dumps({"system": llama_cpp.llama_print_system_info().decode().strip(), "buffers": buffers}), flush=True)

    batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)
    memory = llama_cpp.llama_get_memory(context)

    def decode(tokens):
        """(token, position, sequence, whether its logits are wanted) -> the best next token where they are."""
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wanted
        if status := llama_cpp.llama_decode(context, batch):
            sys.exit(f"llama_decode: {status}\n" + "".join(log)[-2000:])
        wanted = [i for i, token in enumerate(tokens) if token[3]]
        rows = (np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (vocab,)) for i in wanted)
        return [int(row.argmax()) for row in rows]

    new_tokens, seconds = 0, 0.0
    for first in range(0, len(prompts), args.batch):
        chunk = prompts[first : first + args.batch]
        llama_cpp.llama_memory_clear(memory, True)
        start = time.perf_counter()
        prompt = [(token, i, s, i + 1 == len(ids)) for s, ids in enumerate(chunk) for i, token in enumerate(ids)]
        new = [[token] for token in decode(prompt)]
        for step in range(args.tokens - 1):
            found = decode([(ids[-1], len(chunk[s]) + step, s, True) for s, ids in enumerate(new)])
            for ids, token in zip(new, found):
                ids.append(token)
        seconds += time.perf_counter() - start
        new_tokens += sum(map(len, new))
        for i, ids in enumerate(new, first):
            print(json.dumps({"index": i, "ids": ids}), flush=True)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    rate = new_tokens / seconds
    print(json.dumps({"tokens": new_tokens, "seconds": seconds, "tokens_per_second": rate, "peak_rss_mb": rss}))


if __name__ == "__main__":
    main()
