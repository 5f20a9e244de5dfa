"""Greedy decoding with transformers: one JSON line per prompt, then tokens per second.

    python decode_torch.py --model DIR --prompts FILE.jsonl --count 5 --tokens 64

A prompt is a line's "messages" or "prompt" (as messages: rendered with the chat template and its generation prompt; a last
assistant message is left out), its "text", or its "ids". Prompts run one by one, so there is no padding. Each line has the
prompt's ids and the new ids, EOS included when it came; and the smallest distance between the best and second-best logit, which
tells whether another implementation may fairly choose another token. Timing covers generate() alone, prefill included.

    python decode_torch.py --model DIR --prompts FILE.jsonl --count 32 --batch 8 --tokens 128 --ignore-eos

--batch makes it a measurement: that many prompts at once, which must have one length, and no logits are kept, so there is no
smallest distance.
"""

import argparse
import itertools
import json
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--prompts", required=True, help="JSON lines")
    p.add_argument("--count", type=int, default=5)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    p.add_argument("--batch", type=int, help="prompts at once, all of one length; logits are not kept")
    p.add_argument("--ignore-eos", action="store_true", help="always make TOKENS tokens")
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = p.parse_args()
    torch.set_num_threads(args.threads)

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).eval()
    if args.ignore_eos:
        model.generation_config.eos_token_id = None
    with open(args.prompts, encoding="utf-8") as file:
        prompts = [prompt_ids(json.loads(line), tokenizer) for line in itertools.islice(file, args.count)]

    new_tokens, seconds, size = 0, 0.0, args.batch or 1
    for first in range(0, len(prompts), size):
        batch = prompts[first : first + size]
        if len({len(ids) for ids in batch}) > 1:
            sys.exit(f"--batch {size}: prompts {first} to {first + len(batch) - 1} have different lengths")
        x = torch.tensor(batch)
        start = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                x, attention_mask=torch.ones_like(x), max_new_tokens=args.tokens, do_sample=False, top_p=None, top_k=None,
                temperature=None, pad_token_id=tokenizer.pad_token_id, return_dict_in_generate=True,
                output_logits=args.batch is None,
            )
        took = time.perf_counter() - start
        seconds += took
        for i, (ids, sequence) in enumerate(zip(batch, out.sequences, strict=True), first):
            new = sequence[len(ids) :].tolist()
            new_tokens += len(new)
            line = {"index": i, "prompt_ids": ids, "ids": new, "text": tokenizer.decode(new)}
            if args.batch is None:
                best = torch.cat(out.logits).float().topk(2).values
                line["min_margin"] = (best[:, 0] - best[:, 1]).min().item()
            print(json.dumps(line | {"seconds": took}), flush=True)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    print(json.dumps({"tokens": new_tokens, "seconds": seconds, "tokens_per_second": new_tokens / seconds, "peak_rss_mb": rss}))


def prompt_ids(row, tokenizer):
    if "ids" in row:
        return row["ids"]
    messages = row.get("messages", row.get("prompt", row.get("text")))
    if isinstance(messages, str):
        return tokenizer(messages)["input_ids"]
    if messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]


if __name__ == "__main__":
    main()
