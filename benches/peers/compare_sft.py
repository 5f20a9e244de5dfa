"""SFT speed and peak memory, proximal and PyTorch by turns on the same rows, one table of ratios.

    python compare_sft.py --proximal target/release/proximal --model DIR --data FILE.jsonl [--dtype f32] [--rounds 2]

FILE has {"messages"} rows; their texts are joined into rows longer than the sequence, so that every row fills it. Each side
makes --steps optimizer steps of --accumulation rows of --sequence tokens; PyTorch's first step is left out of its time
(allocation), proximal's is not. Memory is the largest resident set of the process.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile


def rows(path, sequence, count):
    """Texts of more than `sequence` tokens: about 3 characters a token is a safe lower bound for English."""
    text = "\n".join(
        m["content"] for line in open(path, encoding="utf-8") for m in json.loads(line)["messages"] if m.get("content")
    )
    size = 8 * sequence
    pieces = [text[i : i + size] for i in range(0, len(text) - size, size)]
    return [pieces[i % len(pieces)] for i in range(count)]


def torch_side(args, data):
    script = pathlib.Path(__file__).with_name("sft_torch.py")
    command = [sys.executable, script, "--peer", args.peer, "--model", args.model, "--data", data, "--mask", "all"]
    command += ["--max-length", args.sequence, "--batch", 1, "--accumulation", args.accumulation, "--steps", args.steps + 1]
    command += ["--learning-rate", 1e-5, "--schedule", "constant", "--dtype", args.dtype, "--threads", args.threads]
    env = dict(os.environ)
    if args.tuned_malloc:
        env |= {f"MALLOC_{k}_": str(1 << 34) for k in ("TRIM_THRESHOLD", "MMAP_THRESHOLD")} | {"MALLOC_TOP_PAD_": str(1 << 28)}
    lines = [json.loads(x) for x in run(command, env).splitlines() if x.startswith("{")]
    steps = [x for x in lines if "step" in x][1:]
    rss = next(x["peak_rss_mb"] for x in reversed(lines) if "peak_rss_mb" in x)
    return sum(x["tokens"] for x in steps) / sum(x["seconds"] for x in steps), rss, [x["loss"] for x in steps]


def our_side(args, data):
    with tempfile.TemporaryDirectory() as out:
        command = [args.proximal, "sft", "--model", args.model, "--dataset.path", data, "--output_dir", out + "/run", "--json"]
        command += ["--max_length", args.sequence, "--per_device_train_batch_size", 1, "--max_steps", args.steps]
        command += ["--gradient_accumulation_steps", args.accumulation, "--learning_rate", 1e-5, "--shuffle", "false"]
        command += ["--lr_scheduler_type", "constant", "--save_strategy", "no", "--gradient_checkpointing", "false"]
        command += ["--dtype", args.dtype, "--threads", args.threads, "--logging_steps", 1]
        summary = json.loads(run(command, dict(os.environ)))
        losses = [json.loads(x)["loss"] for x in open(out + "/run/metrics.jsonl")]
        return summary["tokens_per_second"], summary["peak_memory"] / 2**20, losses


def run(command, env):
    done = subprocess.run([str(c) for c in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--proximal", default="target/release/proximal")
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--peer", choices=["torch", "trl"], default="torch")
    p.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    p.add_argument("--sequence", type=int, default=512)
    p.add_argument("--accumulation", type=int, default=8)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--tuned-malloc", action="store_true", help="let PyTorch keep its memory between steps")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = folder + "/rows.jsonl"
        with open(data, "w", encoding="utf-8") as file:
            for text in rows(args.data, args.sequence, args.accumulation * (args.steps + 1)):
                file.write(json.dumps({"text": text}) + "\n")
        ours, theirs = [], []
        for i in range(args.rounds):
            ours.append(our_side(args, data))
            theirs.append(torch_side(args, data))
            line = {"round": i, "proximal_tokens_per_second": ours[-1][0], "peer_tokens_per_second": theirs[-1][0]}
            print(json.dumps(line), flush=True)
    speed = [statistics.median(x[0] for x in side) for side in (ours, theirs)]
    memory = [max(x[1] for x in side) for side in (ours, theirs)]
    print(f"{args.dtype}, sequence {args.sequence}, accumulation {args.accumulation}, {args.threads} threads, peer {args.peer}")
    print(f"tokens/s     proximal {speed[0]:8.1f}   peer {speed[1]:8.1f}   ratio {speed[0] / speed[1]:.2f}")
    print(f"peak MiB     proximal {memory[0]:8.0f}   peer {memory[1]:8.0f}   ratio {memory[0] / memory[1]:.2f}")


if __name__ == "__main__":
    main()
