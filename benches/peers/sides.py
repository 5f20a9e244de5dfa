"""The rows of compare.py: what each side of one runs, on which rows of text, and what it gives back."""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TUNED = {"MALLOC_TRIM_THRESHOLD_": 1 << 34, "MALLOC_MMAP_THRESHOLD_": 1 << 34, "MALLOC_TOP_PAD_": 1 << 28}
# The least ratio that a row, or one peer of it, is to reach; --goal ROW=RATIO sets more.
GOALS = {
    "threads-f32": 1.9, "threads-bf16": 1.9,
    "sft-bf16:TRL, bf16": 4.0, "sft-bf16:TRL, bf16, tuned": 2.0, "sft-bf16:PyTorch, bf16, compiled, tuned": 1.6,
    "sft-f32:TRL, f32": 2.7, "sft-f32:TRL, f32, tuned": 1.6,
    "dpo-bf16": 5.0, "grpo-bf16": 8.0, "trpo:PyTorch, double backward, tuned": 3.0,
    "decode-b1-bf16:llama.cpp, bf16": 1.0, "decode-b8-bf16:llama.cpp, bf16": 2.0,
}
# In tokens, but for accumulation, which is in micro-batches; --small takes an eighth.
SIZES = {"sequence": 512, "accumulation": 8, "dpo_prompt": 256, "answer": 128, "prompt": 64, "new": 128,
         "trpo_new": 64, "group_prompt": 256, "group_new": 64, "longest": 8192}
# A program that proximal runs for rewards, and share_of_e in trl_steps.py.
JUDGE = """
import json, sys
for line in sys.stdin:
    texts = [sample["completion"] for sample in json.loads(line)["samples"]]
    print(json.dumps([10.0 * text.count("e") / max(len(text), 1) for text in texts]), flush=True)
"""


class Failed(Exception):
    """A side did not do what it was to do."""


def run(command, env=(), on_line=lambda line: None):
    """Runs a command: its standard output, seconds from start to end, peak MiB. `on_line` gets its standard error."""
    env = os.environ | {key: str(value) for key, value in dict(env).items()}
    command, begin = [str(word) for word in command], time.time()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        child = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.PIPE, text=True)
        last = []
        try:
            for line in child.stderr:
                on_line(line)
                last = [*last[-30:], line]
        except BaseException:
            child.kill()
            raise
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise Failed(f"{shlex.join(command)}\nended with {child.returncode}:\n{''.join(last)[-3000:]}")
        out.seek(0)
        return out.read(), time.time() - begin, usage.ru_maxrss / 1024  # kilobytes on Linux


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# Data.


def pieces(args):
    """Token ids of --data, and what turns ids into text and text into ids."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(pathlib.Path(args.model) / "tokenizer.json"))
    tokenizer.no_truncation()
    texts = []

    def gather(value):
        if isinstance(value, str):
            texts.append(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            gather(part)

    for line in open(args.data, encoding="utf-8"):
        row = json.loads(line)
        gather([m["content"] for m in row["messages"]] if "messages" in row else row)
    ids = tokenizer.encode("\n".join(texts), add_special_tokens=False).ids
    return ids, lambda x: tokenizer.decode(x, skip_special_tokens=False), lambda x: tokenizer.encode(x).ids


def exact(args, count, first, seconds=()):
    """`count` rows: a text of `first` tokens, and for each of `seconds` another that continues it by so many."""
    ids, decode, encode = args.pieces
    at, rows, tried = 0, [], 0

    def begins_word(i):
        return decode([ids[i % len(ids)]])[:1] == " "

    def window(n):
        nonlocal at
        while not begins_word(at):
            at += 1
        part = [ids[(at + i) % len(ids)] for i in range(n)]
        at += n
        return part

    while len(rows) < count:
        row = [window(n) for n in (first, *seconds)]
        wholes = [row[0]] + [row[0] + part for part in row[1:]]
        if all(encode(decode(whole)) == whole for whole in wholes):
            rows.append([decode(part) for part in row])
        tried += 1
        if tried > 50 * count + 1000:
            raise Failed(f"{args.data}: expected {count} texts of {first} tokens, found {len(rows)} that stay so")
    return rows


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def endless(args):
    """A folder with the model whose end token is a special token that no text has; the weights are links."""
    folder, source = args.work / "endless", pathlib.Path(args.model).resolve()
    if folder.exists():
        return folder
    folder.mkdir()
    specials = [t for t in json.loads((source / "tokenizer.json").read_text("utf-8"))["added_tokens"] if t["special"]]
    config = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    taken = ("eos_token", "bos_token", "pad_token", "unk_token", "chat_template")
    used = json.dumps([config.get(key) for key in taken])
    free = [t for t in specials if t["content"] not in used]
    if not free:
        raise Failed(f"{source}: no special token is free to stand for the end token")
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    for name, key, token in [("config.json", "eos_token_id", free[-1]["id"]),
                             ("generation_config.json", "eos_token_id", free[-1]["id"]),
                             ("tokenizer_config.json", "eos_token", free[-1]["content"]),
                             ("special_tokens_map.json", "eos_token", free[-1]["content"])]:
        if (source / name).exists():
            (folder / name).unlink()
            content = json.loads((source / name).read_text("utf-8"))
            (folder / name).write_text(json.dumps(content | {key: token}), encoding="utf-8")
    return folder


# Sides. Each gives {"value", "peak"} and what else is worth keeping.


def train(args, trainer, keys, measured, model=None, threads=None):
    """proximal: each step's seconds, their part before completions.jsonl was written, its tokens, its metrics."""
    with tempfile.TemporaryDirectory(dir=args.work) as out:
        stamps, drawn = [], []

        def on_line(line):
            if line.startswith("step ") or "optimizer steps," in line:
                stamps.append(time.time())
                path = pathlib.Path(out, "run", "completions.jsonl")
                drawn.append(path.stat().st_mtime if path.exists() else 0.0)

        command = [args.proximal, trainer, "--model", model or args.model, "--output_dir", out + "/run"]
        command += ["--max_steps", measured + 1, "--logging_steps", 1, "--save_strategy", "no", "--shuffle", "false"]
        command += ["--gradient_checkpointing", "false", "--threads", threads or args.threads]
        for key, value in keys.items():
            command += ["--" + key, value if isinstance(value, str) else json.dumps(value)]
        _, _, peak = run(command, on_line=on_line)
        read = (pathlib.Path(out, "run", "metrics.jsonl")).read_text("utf-8")
        lines = [line for line in json_lines(read) if "loss" in line]
        path = pathlib.Path(out, "run", "completions.jsonl")
        completions = path.read_text("utf-8") if path.exists() else ""
    if len(lines) != measured + 1 or len(stamps) != measured + 2:
        raise Failed(f"proximal {trainer}: expected {measured + 1} steps, found {len(lines)}, {len(stamps)} times")
    totals = [0, *(line.get("num_tokens", 0) for line in lines)]
    return {
        "seconds": [b - a for a, b in zip(stamps, stamps[1:])],
        "drawing": [d - a if d else 0.0 for a, d in zip(stamps, drawn[1:])],
        "tokens": [b - a for a, b in zip(totals, totals[1:])],
        "lines": lines, "peak": peak, "completions": completions,
    }


def script(args, name, words, tuned=True, python=None):
    """A script of this folder: its JSON lines, seconds, peak."""
    env = {"OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
           "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"} | (TUNED if tuned else {})
    out, seconds, peak = run([python or sys.executable, HERE / name, *words, "--threads", args.threads], env)
    return json_lines(out), seconds, peak


def trained_per_second(steps, units=lambda step: step["trained"]):
    steps = steps[1:]
    return sum(map(units, steps)) / sum(step["seconds"] for step in steps)


SFT = {"learning_rate": 1e-5, "lr_scheduler_type": "constant", "weight_decay": 0.0, "max_grad_norm": 1.0}


def sft_data(args, sequence, count):
    """Texts longer than the sequence, which both sides cut."""
    return write(args.work / f"sft-{sequence}-{count}.jsonl",
                 [{"text": first + second} for first, second in exact(args, count, sequence, [8])])


def sft_proximal(args, dtype, sequence=None, accumulation=None, measured=None, threads=None, more=()):
    sequence, accumulation = sequence or args.sequence, accumulation or args.accumulation
    measured = measured or args.steps
    data = sft_data(args, sequence, accumulation * (measured + 1))
    keys = {"dataset.path": str(data), "max_length": sequence, "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": accumulation, "dtype": dtype} | SFT | dict(more)
    found = train(args, "sft", keys, measured, threads=threads)
    # The first token of a row is given, not predicted.
    steps = [{"trained": t - accumulation, "seconds": s} for t, s in zip(found["tokens"], found["seconds"])]
    return {"value": trained_per_second(steps), "peak": found["peak"], "seconds": found["seconds"],
            "losses": [line["loss"] for line in found["lines"]], "count": [step["trained"] for step in steps]}


def sft_peer(args, peer, dtype, tuned=True, compiled=False):
    data = sft_data(args, args.sequence, args.accumulation * (args.steps + 1))
    words = ["--peer", peer, "--model", args.model, "--data", data, "--mask", "all", "--max-length", args.sequence]
    words += ["--batch", 1, "--accumulation", args.accumulation, "--steps", args.steps + 1]
    words += ["--learning-rate", 1e-5, "--schedule", "constant", "--dtype", dtype] + ["--compile"] * compiled
    lines, _, peak = script(args, "sft_torch.py", words, tuned)
    steps = [line for line in lines if "step" in line]
    return {"value": trained_per_second(steps), "peak": peak, "losses": [line["loss"] for line in steps],
            "count": [line["trained"] for line in steps], "seconds": [line["seconds"] for line in steps]}


def sft(ours, theirs, more=()):
    def sides(args):
        return {
            "proximal": lambda: sft_proximal(args, ours, more=more),
            f"TRL, {theirs}": lambda: sft_peer(args, "trl", theirs, tuned=False),
            f"TRL, {theirs}, tuned": lambda: sft_peer(args, "trl", theirs),
            f"PyTorch, {theirs}, tuned": lambda: sft_peer(args, "torch", theirs),
            f"PyTorch, {theirs}, compiled, tuned": lambda: sft_peer(args, "torch", theirs, compiled=True),
        }

    return sides


def dpo_data(args, measured):
    # A text's answer ends with the end token, which both sides add.
    rows = exact(args, args.accumulation * (measured + 1), args.dpo_prompt, [args.answer - 1] * 2)
    rows = [dict(zip(("prompt", "chosen", "rejected"), row)) for row in rows]
    return write(args.work / f"dpo-{measured}.jsonl", rows)


def dpo_proximal(args, dtype, cached):
    keys = {"dataset.path": str(dpo_data(args, args.steps)), "max_length": args.dpo_prompt + args.answer, "beta": 0.2,
            "per_device_train_batch_size": 1, "gradient_accumulation_steps": args.accumulation,
            "precompute_ref_log_probs": cached, "dtype": dtype} | SFT
    found = train(args, "dpo", keys, args.steps)
    return {"value": args.accumulation * args.steps / sum(found["seconds"][1:]), "peak": found["peak"],
            "count": found["tokens"], "losses": [line["loss"] for line in found["lines"]], "seconds": found["seconds"]}


def dpo_peer(args, dtype, cached):
    words = ["dpo", "--model", args.model, "--data", dpo_data(args, args.steps), "--dtype", dtype, "--batch", 1]
    words += ["--accumulation", args.accumulation, "--steps", args.steps + 1, "--learning-rate", 1e-5]
    words += ["--set", "beta=0.2", "--set", f"max_length={args.dpo_prompt + args.answer}"]
    words += ["--set", f"precompute_ref_log_probs={json.dumps(cached)}"]
    lines, _, peak = script(args, "trl_steps.py", words)
    steps = [line for line in lines if "step" in line]
    totals = [0, *(line["num_tokens"] for line in steps)]
    return {"value": args.accumulation * args.steps / sum(line["seconds"] for line in steps[1:]), "peak": peak,
            "losses": [line["loss"] for line in steps], "count": [b - a for a, b in zip(totals, totals[1:])],
            "seconds": [line["seconds"] for line in steps]}


def dpo(ours, *theirs):
    def sides(args):
        given = {}
        for cached in (True, False):
            name = ", reference cached" if cached else ", reference run"
            given["proximal" + name] = lambda cached=cached: dpo_proximal(args, ours, cached)
            for dtype in theirs:
                given[f"TRL, {dtype}, tuned{name}"] = lambda cached=cached, dtype=dtype: dpo_peer(args, dtype, cached)
        return given

    return sides


def prompts(args, count, tokens):
    path = args.work / f"prompts-{tokens}-{count}.jsonl"
    return write(path, [{"prompt": prompt} for prompt, in exact(args, count, tokens)])


def online(args, trainer, dtype, measured, prompt, new, batch, accumulation, group, more=()):
    """proximal's grpo or trpo: completions of exactly `new` tokens to prompts of exactly `prompt`."""
    judge = args.work / "judge.py"
    judge.write_text(JUDGE)
    size = batch * accumulation
    config = args.work / "reward.toml"
    command = json.dumps([sys.executable, str(judge)])
    config.write_text(f'reward_funcs = [{{ type = "command", command = {command} }}]\n')
    keys = {"config": str(config), "dataset.path": str(prompts(args, size // group * (measured + 1), prompt)),
            "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
            "num_generations": group, "max_completion_length": new, "num_completions_to_print": 0, "dtype": dtype,
            "seed": 1} | dict(more)
    found = train(args, trainer, keys, measured, endless(args))
    lengths = {len(line["completion_ids"]) for line in json_lines(found["completions"])}
    if lengths != {new} or found["tokens"] != [size * (prompt + new)] * (measured + 1):
        raise Failed(f"proximal {trainer}: completions of {lengths} tokens, expected {new}; {found['tokens']} in all")
    return found


def grpo_proximal(args, dtype, more=()):
    keys = SFT | {"learning_rate": 1e-6} | dict(more)
    found = online(args, "grpo", dtype, args.steps, args.prompt, args.new, 8, 4, 8, keys)
    seconds, drawing = (sum(found[key][1:]) / args.steps for key in ("seconds", "drawing"))
    return {"value": seconds, "peak": found["peak"], "drawing": drawing, "count": found["tokens"],
            "tokens_per_second": 32 * args.new / seconds}


def grpo_peer(args, dtype):
    data = prompts(args, 4 * (args.steps + 1), args.prompt)
    words = ["grpo", "--model", endless(args), "--data", data, "--dtype", dtype, "--batch", 8, "--accumulation", 4]
    words += ["--steps", args.steps + 1, "--set", "num_generations=8", "--set", f"max_completion_length={args.new}"]
    lines, _, peak = script(args, "trl_steps.py", words)
    steps = [line for line in lines if "step" in line]
    if any(line[f"completions/{name}_length"] != args.new for line in steps for name in ("min", "max")):
        raise Failed(f"TRL: a completion has not {args.new} tokens")
    totals = [0, *(round(line["num_tokens"]) for line in steps)]
    seconds = sum(line["seconds"] for line in steps[1:]) / args.steps
    return {"value": seconds, "peak": peak, "count": [b - a for a, b in zip(totals, totals[1:])],
            "tokens_per_second": 32 * args.new / seconds}


def grpo(ours, *theirs):
    def sides(args):
        peers = {f"TRL, {dtype}, tuned": lambda dtype=dtype: grpo_peer(args, dtype) for dtype in theirs}
        int8 = {"rollout_dtype": "int8", "vllm_importance_sampling_mode": "token_truncate"}
        own = {"proximal, int8 rollouts": lambda: grpo_proximal(args, ours, int8)}
        return {"proximal": lambda: grpo_proximal(args, ours)} | own | peers

    return sides


def decode_count(batch):
    return max(batch, 4)


def decode_proximal(args, dtype, batch):
    data = prompts(args, decode_count(batch), args.prompt)
    with tempfile.TemporaryDirectory(dir=args.work) as out:
        command = [args.proximal, "eval", "--model", endless(args), "--dataset", data, "--output", out + "/a.jsonl"]
        command += ["--max-new-tokens", args.new, "--batch-size", batch, "--dtype", dtype]
        command += ["--threads", args.threads, "--json"]
        text, _, peak = run(command)
    summary = json.loads(text)["summary"]
    if summary["tokens"] != args.new * decode_count(batch):
        raise Failed(f"proximal eval: {summary['tokens']} new tokens, expected {args.new * decode_count(batch)}")
    return {"value": summary["tokens"] / summary["seconds"], "peak": peak}


def decode_transformers(args, dtype, batch):
    count = decode_count(batch)
    words = ["--model", endless(args), "--prompts", prompts(args, count, args.prompt), "--count", count]
    words += ["--batch", batch, "--tokens", args.new, "--dtype", dtype, "--ignore-eos"]
    lines, _, peak = script(args, "decode_torch.py", words)
    return decoded("transformers", lines, count * args.new, peak)


def decode_llama(args, gguf, batch):
    path = prompts(args, decode_count(batch), args.prompt)
    rows = [line["prompt"] for line in json_lines(path.read_text("utf-8"))]
    encode = args.pieces[2]
    data = write(args.work / f"ids-{batch}.jsonl", [{"ids": encode(row)} for row in rows])
    words = ["--model", gguf, "--prompts", data, "--batch", batch, "--tokens", args.new]
    lines, _, peak = script(args, "decode_llama.py", words, tuned=False, python=args.llama_python)
    return decoded("llama.cpp", lines, len(rows) * args.new, peak) | lines[0]


def decoded(name, lines, expected, peak):
    if lines[-1]["tokens"] != expected:
        raise Failed(f"{name}: {lines[-1]['tokens']} new tokens, expected {expected}")
    return {"value": lines[-1]["tokens_per_second"], "peak": peak}


def decode(dtype, batch):
    def sides(args):
        given = {"proximal": lambda: decode_proximal(args, dtype, batch),
                 f"transformers, {dtype}, tuned": lambda: decode_transformers(args, dtype, batch)}
        for name, file in args.llama.items():
            if (name == "f32") == (dtype == "f32"):
                given[f"llama.cpp, {name}"] = lambda file=file: decode_llama(args, file, batch)
        return given

    return sides


# 16 completions, 8 in a micro-batch: what PyTorch's second graph has room for.
def trpo_online(args, trainer, more):
    return online(args, trainer, "f32", 0, args.prompt, args.trpo_new, batch=8, accumulation=2, group=8, more=more)


def trpo_proximal(args):
    found = trpo_online(args, "trpo", {"cg_iters": 10, "cg_residual_tol": 0.0})
    args.completions = args.work / "completions.jsonl"
    args.completions.write_text(found["completions"], encoding="utf-8")
    line = found["lines"][0]
    step = {key: line[key] for key in ("surrogate_improvement", "kl_old_new", "cg_iters", "cg_residual", "step_size",
                                       "line_search/steps")}
    return {"value": found["seconds"][0] - found["drawing"][0], "peak": found["peak"]} | step


def grpo_update(args):
    found = trpo_online(args, "grpo", SFT | {"learning_rate": 1e-6})
    return {"value": found["seconds"][0] - found["drawing"][0], "peak": found["peak"]}


def trpo_peer(args):
    words = ["--model", args.model, "--completions", args.completions, "--batch", 8]
    lines, _, peak = script(args, "trpo_torch.py", [*words, "--graph", args.graph])
    step = lines[0]
    return step | {"value": step["seconds"], "peak": peak}


def trpo(args):
    return {"proximal": lambda: trpo_proximal(args),
            "PyTorch, double backward, tuned": lambda: trpo_peer(args),
            "proximal grpo's update (forward, backward, AdamW)": lambda: grpo_update(args)}


def startup(args):
    data = prompts(args, 4, args.prompt)
    text = json.loads(data.read_text("utf-8").splitlines()[0])["prompt"]

    def ours():
        command = [args.proximal, "generate", "--model", args.model, "--prompt", text, "--raw", "--max-new-tokens", 1]
        _, seconds, peak = run([*command, "--threads", args.threads])
        return {"value": seconds, "peak": peak}

    def transformers():
        words = ["--model", args.model, "--prompts", data, "--count", 1, "--batch", 1, "--tokens", 1]
        _, seconds, peak = script(args, "decode_torch.py", words, tuned=False)
        return {"value": seconds, "peak": peak}

    def trl():
        rows = write(args.work / "startup.jsonl", [{"text": text}])
        words = ["--peer", "trl", "--model", args.model, "--data", rows, "--accumulation", 1, "--steps", 1]
        _, seconds, peak = script(args, "sft_torch.py", words, tuned=False)
        return {"value": seconds, "peak": peak}

    return {"proximal": ours, "transformers, f32, one token": transformers, "TRL, f32, one step of 64 tokens": trl}


def threads(dtype):
    def sides(args):
        def side(n):
            return lambda: sft_proximal(args, dtype, threads=n)

        return {"proximal, 2 threads": side(2), "proximal, 1 thread": side(1)}

    return sides


GROUPS = [2, 4, 8, 16]


def lengths(dtype):
    def sides(args):
        points = [args.longest >> k for k in range(6, -1, -1)]
        return {n: lambda n=n: sft_proximal(args, dtype, n, args.longest // n, measured=1) for n in points}

    return sides


def group_point(args, dtype, group):
    # 16 completions a step whatever the group; the prompt is long, for it is run once for its group.
    more = SFT | {"learning_rate": 1e-6}
    found = online(args, "grpo", dtype, 1, args.group_prompt, args.group_new, 8, 2, group, more)
    return {"value": 16 * args.group_new / found["seconds"][1], "peak": found["peak"], "drawing": found["drawing"][1]}


def groups(dtype):
    return lambda args: {n: lambda n=n: group_point(args, dtype, n) for n in GROUPS}


# name: (what is measured, its unit, whether more is better, sides or points)
ROWS = {
    "sft-f32": ("SFT, sequence 512, accumulation 8", "tokens/s", True, sft("f32", "f32")),
    "sft-bf16": ("SFT, the same, bf16; proximal keeps f32 masters, the peers nothing in f32", "tokens/s", True,
                 sft("bf16", "bf16")),
    "sft-pure": ("SFT, the same, nothing but gradients in f32; the peers nothing at all", "tokens/s", True,
                 sft("bf16", "bf16", {"master_dtype": "bf16"})),
    "sft-masters": ("SFT, the same, bf16 with f32 masters; the peers f32 weights and autocast", "tokens/s", True,
                    sft("bf16", "amp")),
    "dpo-f32": ("DPO, prompts of 256 tokens, two answers of 128, accumulation 8", "pairs/s", True, dpo("f32", "f32")),
    "dpo-bf16": ("DPO, the same, bf16", "pairs/s", True, dpo("bf16", "bf16", "amp")),
    "grpo-f32": ("GRPO, 4 prompts x 8 completions x 128 tokens, one step", "s/step", False, grpo("f32", "f32")),
    "grpo-bf16": ("GRPO, the same, bf16", "s/step", False, grpo("bf16", "bf16", "amp")),
    **{f"decode-b{batch}-{dtype}": (f"greedy decoding, {dtype}, {batch} at once, 64 prompt tokens, prompts included",
                                   "new tokens/s", True, decode(dtype, batch))
       for dtype in ("bf16", "f32") for batch in (1, 8, 32)},
    "trpo": ("TRPO update, 16 completions of 64 tokens to 2 prompts of 64, 10 products with F", "s/update", False,
             trpo),
    "startup": ("process start to end: one token of a prompt of 64", "s", False, startup),
    "threads-f32": ("SFT, f32, two threads against one", "tokens/s", True, threads("f32")),
    "threads-bf16": ("SFT, bf16, two threads against one", "tokens/s", True, threads("bf16")),
}
CURVES = {
    "lengths-f32": ("SFT, f32, 8192 tokens a step", "sequence", "trained tokens/s", lengths("f32")),
    "lengths-bf16": ("SFT, bf16, 8192 tokens a step", "sequence", "trained tokens/s", lengths("bf16")),
    **{f"groups-{dtype}": (f"GRPO, {dtype}, 16 completions of 64 tokens, prompts of 256", "group",
                           "completion tokens/s", groups(dtype)) for dtype in ("f32", "bf16")},
}
