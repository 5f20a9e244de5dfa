"""Supervised fine-tuning with the peers, step by step: a bare PyTorch + transformers loop, or TRL's SFTTrainer.

    python sft_torch.py --peer torch --model DIR --data FILE.jsonl --max-length 512 --batch 1 --accumulation 8 --steps 30
    python sft_torch.py --peer trl   … the same options …

Both print one JSON line per optimizer step (step, loss, grad_norm before clipping, learning_rate, seconds, tokens, trained
tokens) and one at the end with the peak resident memory. Everything that decides a number is an option or stated here:

- rows are read in file order, without shuffling or packing; row i of step s is (s * accumulation + micro) * batch + i, and the
  file starts again from the top when it ends (TRL counts epochs: a file that does not fill its last step is an error);
- rows are {"messages"}, {"prompt", "completion"} (both text or both messages) or {"text"}; text gets the EOS token at its
  end, messages only what the chat template writes;
- --mask all trains on every token but the first, completion on the completion (prompt-completion rows), assistant on
  the assistant turns (message rows), which needs a template with {% generation %}: for SmolLM2's the one below is used;
- longer rows keep their first max_length tokens; a row that this leaves without a trained token is dropped;
- the loss of a step is the sum of the token losses over the number of trained tokens, both of the whole step;
- AdamW, betas 0.9 and 0.999, eps 1e-8; weight decay not on norms and biases; linear, cosine or constant schedule with
  --warmup-steps, over --steps; gradient clipped to --max-grad-norm; no dropout; no label smoothing;
- dtype f32, bf16 (weights, gradients and moments too) or amp (f32 weights, bfloat16 autocast);
- --padding-idx none (the default) undoes torch's embedding padding_idx, with which the input gradient of the pad token's
  row is dropped even where that token is text (SmolLM2 ends every turn with it); keep leaves it as transformers has it;
- --compile (torch peer) puts model and loss through torch.compile, shapes fixed: the first step holds the compiling.
The torch peer tokenises by itself; the trl peer hands the rows to TRL and stops when TRL's ids or masks are others.
"""

import argparse
import importlib.metadata
import itertools
import json
import resource
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "amp": torch.float32}
# SmolLM2's own template with the trained span marked: content + "<|im_end|>\n".
GENERATION = (
    "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
    "{{message['content'] + '<|im_end|>' + '\n'}}{% endgeneration %}{% else %}{{message['content'] + '<|im_end|>' + '\n'}}"
    "{% endif %}"
)
SMOLLM2_TURN = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"


def main():
    args = arguments()
    if args.compile and args.peer != "torch":
        sys.exit("--compile is of --peer torch")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    tokenizer = load_tokenizer(args)
    with open(args.data, encoding="utf-8") as file:
        raw = [json.loads(line) for line in itertools.islice(file, args.rows)]
    rows = [(ids[: args.max_length], labels[: args.max_length]) for ids, labels in (tokenise(r, tokenizer, args) for r in raw)]
    kept = [i for i, (_, labels) in enumerate(rows) if any(label != -100 for label in labels[1:])]
    rows, raw = [rows[i] for i in kept], [raw[i] for i in kept]
    if not rows:
        sys.exit(f"{args.data}: no row with a trained token")

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[args.dtype], attn_implementation=args.attention)
    if args.padding_idx == "none":
        model.get_input_embeddings().padding_idx = None
    packages = ["torch", "transformers"] + ["trl"] * (args.peer == "trl")
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps(vars(args) | versions | {"rows_kept": len(rows)}), flush=True)
    start = time.perf_counter()
    (train_torch if args.peer == "torch" else train_trl)(model, tokenizer, rows, raw, args)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_rss_mb": rss / 1024}), flush=True)
    if args.save:
        model.save_pretrained(args.save)
        tokenizer.save_pretrained(args.save)


def train_torch(model, tokenizer, rows, _raw, args):
    decayed, exempt = [], []
    for name, p in model.named_parameters():
        (exempt if name.endswith("bias") or "norm" in name else decayed).append(p)
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=args.learning_rate, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_scheduler(args.schedule, adamw, args.warmup_steps, args.steps)
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()

    def losses(ids, mask, labels):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "amp"):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        logits, targets = logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten()
        token_loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="none")
        if args.loss_type == "dft":
            token_loss = token_loss * torch.exp(-token_loss.detach())
        return token_loss.sum()

    if args.compile:
        losses = torch.compile(losses, dynamic=False)
    stream = itertools.cycle(rows)
    for step in range(1, args.steps + 1):
        start, total = time.perf_counter(), 0.0
        micro = [list(itertools.islice(stream, args.batch)) for _ in range(args.accumulation)]
        trained = sum(label != -100 for batch in micro for _, labels in batch for label in labels[1:])
        for batch in micro:
            ids, mask, labels = pad(batch, tokenizer.pad_token_id)
            loss = losses(ids, None if mask.all() else mask, labels) / trained
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm).item()
        rate = schedule.get_last_lr()[0]
        adamw.step()
        schedule.step()
        adamw.zero_grad()
        tokens = sum(len(ids) for batch in micro for ids, _ in batch)
        report(step, total, norm, rate, time.perf_counter() - start, tokens, trained)


def train_trl(model, tokenizer, rows, raw, args):
    import tempfile

    import datasets
    from trl import SFTConfig, SFTTrainer

    if len(rows) < args.steps * args.batch * args.accumulation and len(rows) % (args.batch * args.accumulation):
        sys.exit(f"{args.data}: {len(rows)} rows do not fill whole steps of {args.batch * args.accumulation}; use --rows")
    datasets.disable_progress_bars()
    datasets.disable_caching()
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(), max_steps=args.steps, per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=args.accumulation, train_sampling_strategy="sequential", shuffle_dataset=False,
        packing=False, max_length=args.max_length, assistant_only_loss=args.mask == "assistant",
        completion_only_loss=args.mask == "completion", loss_type=args.loss_type, learning_rate=args.learning_rate,
        lr_scheduler_type=args.schedule, warmup_steps=args.warmup_steps, weight_decay=args.weight_decay,
        max_grad_norm=args.max_grad_norm, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, optim="adamw_torch",
        gradient_checkpointing=args.gradient_checkpointing, bf16=args.dtype == "amp", fp16=False, use_cpu=True, seed=0,
        dataloader_drop_last=False, logging_steps=1, logging_first_step=True, logging_nan_inf_filter=False,
        save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True,
    )

    class Clock(transformers.TrainerCallback):
        """Times a step from its first micro-batch to the end of the optimizer's step, as train_torch does."""

        def on_step_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__):
            self.seconds = time.perf_counter() - self.start

        def on_log(self, _args, state, _control, logs, **__):
            if "loss" in logs:
                per_step = args.batch * args.accumulation
                used = [rows[i % len(rows)] for i in range((state.global_step - 1) * per_step, state.global_step * per_step)]
                trained = sum(label != -100 for _, labels in used for label in labels[1:])
                tokens = sum(len(ids) for ids, _ in used)
                rate = logs["learning_rate"]
                report(state.global_step, logs["loss"], logs["grad_norm"], rate, self.seconds, tokens, trained)

    data = datasets.Dataset.from_list(raw)
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()])
    trainer.remove_callback(transformers.PrinterCallback)
    for i, (row, (ids, labels)) in enumerate(zip(trainer.train_dataset, rows, strict=True)):
        if row["input_ids"] != ids or row["labels"][1:] != labels[1:]:
            sys.exit(f"row {i}: TRL's ids or labels differ from ours:\n{row['input_ids']}\n{ids}\n{row['labels']}\n{labels}")
    trainer.train()


def tokenise(row, tokenizer, args):
    """One row's (ids, labels); -100 where the token is not trained."""
    conversational = "messages" in row or not isinstance(row.get("prompt", ""), str)
    if conversational:
        messages = row["messages"] if "messages" in row else row["prompt"] + row["completion"]
        found = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=args.mask == "assistant")
        ids = found["input_ids"]
    else:
        text = row["text"] if "text" in row else row["prompt"] + row["completion"]
        ids = tokenizer(text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token)["input_ids"]
    if args.mask == "all":
        return ids, list(ids)
    if args.mask == "assistant":
        if not conversational or 1 not in found["assistant_masks"]:
            sys.exit(f"--mask assistant: no assistant turn found in {json.dumps(row)[:200]}")
        return ids, [t if keep else -100 for t, keep in zip(ids, found["assistant_masks"], strict=True)]
    if "completion" not in row:
        sys.exit(f"--mask completion: no column completion; there are {sorted(row)}")
    if conversational:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    else:
        prompt = tokenizer(row["prompt"])["input_ids"]
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(prompt, ids)))
    return ids, [-100] * common + ids[common:]


def load_tokenizer(args):
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if args.chat_template:
        with open(args.chat_template, encoding="utf-8") as file:
            tokenizer.chat_template = file.read()
    elif args.mask == "assistant" and SMOLLM2_TURN in (tokenizer.chat_template or ""):
        tokenizer.chat_template = tokenizer.chat_template.replace(SMOLLM2_TURN, GENERATION)
    return tokenizer


def pad(batch, pad_id):
    n = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [pad_id] * (n - len(ids)) for ids, _ in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (n - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [-100] * (n - len(labels)) for _, labels in batch])
    return ids, mask, labels


def report(step, loss, norm, rate, seconds, tokens, trained):
    line = dict(step=step, loss=loss, grad_norm=norm, learning_rate=rate, seconds=seconds, tokens=tokens, trained=trained)
    print(json.dumps(line), flush=True)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", choices=["torch", "trl"], required=True)
    p.add_argument("--model", required=True, help="Hugging Face folder")
    p.add_argument("--data", required=True, help="JSON lines")
    p.add_argument("--rows", type=int, help="use only the first ROWS lines")
    p.add_argument("--mask", choices=["all", "completion", "assistant"], default="all")
    p.add_argument("--chat-template", help="Jinja file to use instead of the model's")
    p.add_argument("--max-length", type=int, default=512)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--accumulation", type=int, default=8)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--loss-type", choices=["nll", "dft"], default="nll")
    p.add_argument("--learning-rate", type=float, default=2e-5)
    p.add_argument("--schedule", choices=["constant", "constant_with_warmup", "linear", "cosine"], default="linear")
    p.add_argument("--warmup-steps", type=int, default=0)
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--max-grad-norm", type=float, default=1.0)
    p.add_argument("--dtype", choices=sorted(DTYPES), default="f32")
    p.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    p.add_argument("--gradient-checkpointing", action="store_true")
    p.add_argument("--padding-idx", choices=["none", "keep"], default="none")
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    p.add_argument("--compile", action="store_true", help="torch peer: model and loss through torch.compile")
    p.add_argument("--save", help="write the trained model here")
    return p.parse_args()


if __name__ == "__main__":
    main()
