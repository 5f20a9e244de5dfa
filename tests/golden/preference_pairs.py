#!/usr/bin/env python3
"""Tokenises preference pairs with TRL's own DPOTrainer and writes pairs.json beside itself.

Reads chat.json and tokenizer/, which chat_templates.py makes. Made with transformers 5.23.0 and TRL 1.16.0.
"""
import json, logging, types
from pathlib import Path

import datasets
import transformers
import trl
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
logging.disable(logging.WARNING)
datasets.disable_progress_bars()


def u(text):
    return [dict(role="user", content=text)]


def a(text):
    return [dict(role="assistant", content=text)]


SYSTEM = [dict(role="system", content="Be brief.")]
TEXTS = [
    dict(prompt="The sky is", chosen=" blue", rejected=" green"),
    dict(prompt="a b", chosen="c", rejected=" c"),  # a token reaches over the border in one answer only
    dict(prompt="user", chosen="s and more", rejected="name"),
    dict(prompt="", chosen="no prompt", rejected="none at all"),
    dict(prompt="Q: 2 + 2?\nA:", chosen=" 4<|im_end|>", rejected=" 5"),
    dict(prompt="trailing ", chosen="word", rejected=" word"),
    dict(prompt="同じ", chosen="です", rejected="ではない🙂"),
    dict(prompt="same", chosen=" end", rejected=" end"),
    dict(chosen="The sky is blue, they say", rejected="The sky is green"),  # the prompt is what both begin with
    dict(chosen="word", rejected="other"),
]
CHATS = [
    dict(prompt=u("What is 2 + 2?"), chosen=a("4"), rejected=a("5, I think.")),
    dict(prompt=SYSTEM + u("Hi"), chosen=a("Hello!"), rejected=a("Good day to you, dear user!")),
    dict(prompt=u("One") + a("Two") + u("Three\n"), chosen=a("\n Four  "), rejected=a("Five")),
    dict(prompt=u("Grüße"), chosen=a("Привет\n"), rejected=a("")),
    dict(prompt=u("Q"), chosen=a("A") + u("R") + a("B"), rejected=a("A")),
    dict(chosen=u("Same question") + a("yes"), rejected=u("Same question") + a("no")),
    dict(prompt=u("Q"), chosen=a("<think>\nhm\n</think>\n\nA"), rejected=a("A")),
    dict(prompt=u("Q"), chosen=a("A"), rejected=a("A")),
]
TEMPLATES = ["smollm2", "qwen2_5", "qwen3", "phi3", "bare_marked"]


def pairs(tok, rows):
    fake = types.SimpleNamespace(_tokenizer=tok)
    args = types.SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    for row in rows:
        row = row if "prompt" in row else trl.extract_prompt(row)
        done = trl.DPOTrainer._prepare_dataset(fake, Dataset.from_list([row]), tok, args, "train")[0]
        yield row | {k: done[k] for k in ("prompt_ids", "chosen_ids", "rejected_ids")}


def main():
    sources = json.loads((HERE / "chat.json").read_text())["templates"]
    tok = PreTrainedTokenizerFast.from_pretrained(HERE / "tokenizer")
    rows = [dict(template=None, **pair) for pair in pairs(tok, TEXTS)]
    for name in TEMPLATES:
        tok.chat_template = sources[name]
        rows += [dict(template=name, **pair) for pair in pairs(tok, CHATS)]
    made = dict(made_with={m.__name__: m.__version__ for m in (transformers, trl)})
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "pairs.json").write_text(json.dumps(made)[:-1] + ',"rows":[\n' + lines + "\n]}\n")


main()
