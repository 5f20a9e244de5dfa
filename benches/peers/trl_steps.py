"""TRL's DPOTrainer or GRPOTrainer, timed step by step on rows whose tokens are counted; for compare.py.

    python trl_steps.py dpo --model DIR --data pairs.jsonl --batch 1 --accumulation 8 --steps 2 --set beta=0.2
    python trl_steps.py grpo --model DIR --data prompts.jsonl --batch 8 --accumulation 4 --set num_generations=8

Prints a JSON line per optimizer step (step, loss, grad_norm, seconds, num_tokens so far, and all else that TRL logs)
and one at the end with the peak resident memory. A step's time begins with its first micro-batch, generation
included, and ends with the optimizer's step. What decides a number: rows in file order, constant learning rate,
AdamW, no weight decay, gradients clipped at 1, no dropout, no gradient checkpointing; dtype f32, bf16 (weights,
gradients and moments too) or amp (f32 weights, bfloat16 autocast); --set gives a key of DPOConfig or GRPOConfig, its
value as JSON where it is no plain word. TRL makes what it logs beside the loss at every step, as when it is used.
GRPO generates by transformers, all completions of a step at once; the reward is made up: ten times the share of the
letter e, as in compare_grpo.py. torch's padding_idx is undone, as in compare_dpo.py.
"""

import argparse
import json
import resource
import sys
import tempfile
import time

import datasets
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "amp": torch.float32}


def value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


class Clock(transformers.TrainerCallback):
    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds = time.perf_counter() - self.start

    def on_log(self, _args, state, _control, logs, **__):
        if "loss" in logs:
            print(json.dumps(logs | {"step": state.global_step, "seconds": self.seconds}), flush=True)


def share_of_e(completions, **_):
    return [10.0 * text.count("e") / max(len(text), 1) for text in completions]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("trainer", choices=["dpo", "grpo"])
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--dtype", choices=sorted(DTYPES), default="f32")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--accumulation", type=int, default=8)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--learning-rate", type=float, default=1e-6)
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of TRL's config")
    args = p.parse_args()
    settings = {key: value(text) for key, text in (pair.split("=", 1) for pair in args.set)}
    torch.set_num_threads(args.threads)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    common = dict(
        output_dir=tempfile.mkdtemp(), max_steps=args.steps, per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=args.accumulation, learning_rate=args.learning_rate, lr_scheduler_type="constant",
        weight_decay=0.0, max_grad_norm=1.0, optim="adamw_torch", gradient_checkpointing=False,
        bf16=args.dtype == "amp", use_cpu=True, seed=0, logging_steps=1, save_strategy="no", report_to="none",
        disable_tqdm=True,
    )

    def load():
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[args.dtype])
        model.get_input_embeddings().padding_idx = None
        return model

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    with open(args.data, encoding="utf-8") as file:
        rows = datasets.Dataset.from_list([json.loads(line) for line in file])
    given = dict(model=load(), processing_class=tokenizer, train_dataset=rows, callbacks=[Clock()])
    if args.trainer == "dpo":
        from trl import DPOConfig, DPOTrainer

        ref_model = None if settings.get("precompute_ref_log_probs") else load()
        config = DPOConfig(train_sampling_strategy="sequential", **common, **settings)
        trainer = DPOTrainer(ref_model=ref_model, args=config, **given)
    else:
        from trl import GRPOConfig, GRPOTrainer

        config = GRPOConfig(shuffle_dataset=False, **common, **settings)
        trainer = GRPOTrainer(reward_funcs=share_of_e, args=config, **given)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    if trainer.state.global_step != args.steps:
        sys.exit(f"{trainer.state.global_step} of {args.steps} steps were made")
    print(json.dumps({"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
