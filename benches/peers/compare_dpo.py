"""DPO in proximal and in TRL's DPOTrainer on the same rows in the same order, f32; a table of the steps and their differences.

    python compare_dpo.py --proximal target/release/proximal --model DIR --data pairs.jsonl --rows 32 --steps 4 \
        [--set loss_type=ipo --set beta=0.2] [--tolerance 1e-4]

Rows are {"prompt", "chosen", "rejected"}, texts or messages. --set gives a key of TRL's DPOConfig to both, its value as JSON
where it is no plain word. Everything else that decides a number: rows in file order, constant learning rate, no weight
decay, gradients clipped at 1, no dropout; torch's padding_idx is undone (it drops the input gradient of the pad token's
embedding even where that token is text, and SmolLM2 ends every turn with it). Exit status 1 when a loss, a gradient norm or
any other logged number differs by more than --tolerance of itself (or absolutely, where it is below 1).
"""

import argparse
import json
import subprocess
import sys
import tempfile

KEYS = ["loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
        "logps/rejected", "num_tokens"]
# Means over tokens here, means of micro-batch means in TRL: the same with one micro-batch to a step only.
OVER_TOKENS = ["entropy", "mean_token_accuracy"]


def value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def of_trl(args, data, settings):
    import datasets
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(args.threads)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model, ref_model = (AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32) for _ in range(2))
    model.get_input_embeddings().padding_idx = None
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(), max_steps=args.steps, per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=args.accumulation, train_sampling_strategy="sequential",
        max_length=args.max_length, learning_rate=args.learning_rate, lr_scheduler_type="constant", weight_decay=0.0,
        max_grad_norm=1.0, optim="adamw_torch", gradient_checkpointing=False, bf16=False, use_cpu=True, seed=0,
        logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, **settings,
    )
    ref_model = None if settings.get("precompute_ref_log_probs") else ref_model
    rows = [json.loads(line) for line in open(data, encoding="utf-8")]
    trainer = DPOTrainer(model=model, ref_model=ref_model, args=config, processing_class=tokenizer,
                         train_dataset=datasets.Dataset.from_list(rows))
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def of_proximal(args, data, settings):
    with tempfile.TemporaryDirectory() as out:
        command = [args.proximal, "dpo", "--model", args.model, "--dataset.path", data, "--output_dir", out + "/run"]
        command += ["--max_length", args.max_length, "--per_device_train_batch_size", args.batch, "--max_steps", args.steps]
        command += ["--gradient_accumulation_steps", args.accumulation, "--learning_rate", args.learning_rate]
        command += ["--shuffle", "false", "--lr_scheduler_type", "constant", "--save_strategy", "no", "--logging_steps", 1]
        command += ["--gradient_checkpointing", "false", "--dtype", "f32", "--threads", args.threads]
        for key, x in settings.items():
            command += ["--" + key, x if isinstance(x, str) else json.dumps(x)]
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{args.proximal} failed:\n{done.stderr[-2000:]}")
        return [json.loads(line) for line in open(out + "/run/metrics.jsonl")]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--proximal", default="target/release/proximal")
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--rows", type=int, help="use only the first ROWS lines")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--accumulation", type=int, default=2)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--max-length", type=int, default=128)
    p.add_argument("--learning-rate", type=float, default=1e-5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of DPOConfig, for both")
    p.add_argument("--tolerance", type=float, default=1e-4)
    args = p.parse_args()
    settings = {key: value(text) for key, text in (pair.split("=", 1) for pair in args.set)}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as rows:
        lines = open(args.data, encoding="utf-8").readlines()[: args.rows]
        rows.writelines(lines)
        rows.flush()
        ours, theirs = of_proximal(args, rows.name, settings), of_trl(args, rows.name, settings)
    print("| step | TRL loss | proximal loss | TRL grad_norm | proximal grad_norm | TRL margin | proximal margin |")
    print("|---|---|---|---|---|---|---|")
    keys = KEYS + OVER_TOKENS * (args.accumulation == 1)
    worst = dict.fromkeys(keys, 0.0)
    for step, (a, b) in enumerate(zip(theirs, ours, strict=True), 1):
        cells = [f"{x[key]:.6f}" for key in ("loss", "grad_norm", "rewards/margins") for x in (a, b)]
        print(f"| {step} | " + " | ".join(cells) + " |")
        for key in keys:
            least = 0.0 if key in ("loss", "grad_norm") else 1.0
            worst[key] = max(worst[key], abs(a[key] - b[key]) / max(abs(a[key]), least))
    print("largest differences: " + ", ".join(f"{key} {x:.1e}" for key, x in worst.items()))
    sys.exit(max(worst.values()) > args.tolerance)


if __name__ == "__main__":
    main()
