"""GRPO or RLOO in proximal and in TRL 1.16 on the same completions with the same rewards, f32; a table of the steps.

    python compare_grpo.py --proximal target/release/proximal --model DIR --data prompts.jsonl --steps 3 \
        [--trainer rloo] [--set loss_type=grpo --set beta=0.1] [--tolerance 1e-4]

Rows have a "question", or a "prompt" that is a text. `proximal` draws the completions and writes them to completions.jsonl;
TRL's trainer gets exactly those in place of its own, with their rewards (proximal's, from a made-up reward: ten times the
share of the letter e, so that they differ), and everything after that is TRL's: advantages, loss, gradient, AdamW. The
tokens of the prompts are compared too. --set gives a key of TRL's config to both, its value as JSON where it is no plain
word. TRL divides a generation among the steps in an order that torch draws, so a generation is one optimizer step here,
gone through num_iterations times; the steps after the first are off-policy. Everything else that decides a number: prompts
in file order, constant learning rate, no weight decay, gradients clipped at 1, no dropout; torch's padding_idx is undone, as
in compare_dpo.py. The norm of TRL's gradients is taken once more in f64, since torch adds squares in f32. Exit status 1 when
a loss, a gradient norm or any other logged number differs by more than --tolerance of itself, or of 0.01 where it is
smaller: with equal lengths the loss of a first step is 0.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile

KEYS = ["loss", "grad_norm", "exact_norm", "reward", "reward_std", "frac_reward_zero_std", "completions/mean_length",
        "completions/clipped_ratio", "num_tokens"]
# Means over tokens here, means of micro-batch means in TRL: the same with one micro-batch to a step only.
OVER_TOKENS = ["entropy", "kl", "clip_ratio/region_mean"]
# A program that proximal runs: docs/rewards.md.
JUDGE = """
import json, sys
for line in sys.stdin:
    texts = [sample["completion"] for sample in json.loads(line)["samples"]]
    print(json.dumps([10.0 * text.count("e") / max(len(text), 1) for text in texts]), flush=True)
"""


def value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def of_trl(args, data, settings, completions):
    import datasets
    import torch
    import transformers
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    name = {"grpo": "GRPO", "rloo": "RLOO"}[args.trainer]
    generations, norms = [], []

    class Replayed(getattr(trl, name + "Trainer")):
        """Takes completions from the file, a generation at each call."""

        def _generate_single_turn(self, prompt_ids, *rest):
            size = len(prompt_ids)
            lines = completions[size * len(generations):size * (len(generations) + 1)]
            if [line["prompt_ids"] for line in lines] != [list(ids) for ids in prompt_ids]:
                sys.exit("the tokens of the prompts, or their order, differ")
            generations.append([line["reward"] for line in lines])
            ids = [line["completion_ids"] for line in lines]
            return (ids, None) if args.trainer == "grpo" else ids

        def training_step(self, *given, **named):
            loss = super().training_step(*given, **named)
            grads = (p.grad.double() for p in self.model.parameters() if p.grad is not None)
            norms.append(float(sum(grad.square().sum() for grad in grads)) ** 0.5)
            return loss

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model.get_input_embeddings().padding_idx = None
    config = getattr(trl, name + "Config")(
        output_dir=tempfile.mkdtemp(), max_steps=args.steps, per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=args.accumulation, num_generations=args.generations, shuffle_dataset=False,
        max_completion_length=args.max_completion_length, learning_rate=args.learning_rate,
        lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, optim="adamw_torch",
        gradient_checkpointing=False, bf16=False, use_cpu=True, seed=0, logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, model_init_kwargs={"dtype": "float32"}, **settings,
    )
    rows = [json.loads(line) for line in open(data, encoding="utf-8")]
    trainer = Replayed(model=model, reward_funcs=lambda **_: generations[-1], args=config, processing_class=tokenizer,
                       train_dataset=datasets.Dataset.from_list(rows))
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    return [{**line, "exact_norm": norm} for line, norm in zip(lines, norms[args.accumulation - 1::args.accumulation])]


def of_proximal(args, data, settings):
    with tempfile.TemporaryDirectory() as out:
        with open(out + "/judge.py", "w") as judge:
            judge.write(JUDGE)
        command = json.dumps([sys.executable, out + "/judge.py"])
        with open(out + "/run.toml", "w") as file:
            file.write(f'reward_funcs = [{{ type = "command", command = {command} }}]\n')
        command = [args.proximal, args.trainer, "--config", out + "/run.toml", "--model", args.model]
        command += ["--dataset.path", data, "--output_dir", out + "/run", "--max_steps", args.steps]
        command += ["--per_device_train_batch_size", args.batch, "--gradient_accumulation_steps", args.accumulation]
        command += ["--num_generations", args.generations, "--max_completion_length", args.max_completion_length]
        command += ["--learning_rate", args.learning_rate, "--lr_scheduler_type", "constant", "--shuffle", "false"]
        command += ["--save_strategy", "no", "--logging_steps", 1, "--num_completions_to_print", 0]
        command += ["--gradient_checkpointing", "false", "--dtype", "f32", "--threads", args.threads, "--seed", args.seed]
        for key, x in settings.items():
            command += ["--" + key, x if isinstance(x, str) else json.dumps(x)]
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{shlex.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
        read = [[json.loads(line) for line in open(f"{out}/run/{name}.jsonl")] for name in ("metrics", "completions")]
        lines = [line for line in read[0] if "loss" in line]
        return [{**line, "exact_norm": line["grad_norm"]} for line in lines], read[1]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--proximal", default="target/release/proximal")
    p.add_argument("--trainer", choices=["grpo", "rloo"], default="grpo")
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--rows", type=int, default=32, help="use only the first ROWS lines")
    p.add_argument("--batch", type=int, default=4, help="completions in a micro-batch")
    p.add_argument("--accumulation", type=int, default=4)
    p.add_argument("--generations", type=int, default=4, help="completions of a prompt")
    p.add_argument("--max-completion-length", type=int, default=24)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--learning-rate", type=float, default=1e-5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1, help="of the draws")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of TRL's config, for both")
    p.add_argument("--tolerance", type=float, default=1e-4)
    args = p.parse_args()
    settings = {key: value(text) for key, text in (pair.split("=", 1) for pair in args.set)}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as rows:
        for line in open(args.data, encoding="utf-8").readlines()[: args.rows]:
            row = json.loads(line)
            content = row["question"] if "question" in row else row["prompt"]
            rows.write(json.dumps({"prompt": [{"role": "user", "content": content}]}) + "\n")
        rows.flush()
        ours, completions = of_proximal(args, rows.name, settings)
        theirs = of_trl(args, rows.name, settings, completions)
    print("| step | TRL loss | proximal loss | TRL grad_norm | the same in f64 | proximal grad_norm |")
    print("|---|---|---|---|---|---|")
    keys = [key for key in KEYS + OVER_TOKENS * (args.accumulation == 1) if key in theirs[0]]
    worst = dict.fromkeys(keys, 0.0)
    for step, (a, b) in enumerate(zip(theirs, ours, strict=True), 1):
        cells = [f"{x:.7f}" for x in (a["loss"], b["loss"], a["grad_norm"], a["exact_norm"], b["grad_norm"])]
        print(f"| {step} | " + " | ".join(cells) + " |")
        # A step that begins no generation has no rewards.
        for key in (key for key in keys if key in a):
            worst[key] = max(worst[key], abs(a[key] - b[key]) / max(abs(a[key]), 0.01))
    print("largest differences: " + ", ".join(f"{key} {x:.1e}" for key, x in worst.items()))
    sys.exit(max(worst.values()) > args.tolerance)


if __name__ == "__main__":
    main()
