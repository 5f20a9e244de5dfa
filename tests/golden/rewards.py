"""usage: rewards.py   makes rewards.json and rewards/: numbers of TRL's reward functions and of reward models.

rewards.json holds what TRL 1.16's own functions give, and the scores of two tiny random models of rewards/ (Qwen2 and Llama
sequence classifiers of one label) as GRPOTrainer computes them: conversational samples through the chat template, plain ones
put together; no special token added; padded on the right. The models read with the tokenizer of tokenizer/.
Of the cosine schedule TRL's class is run with its correctness replaced, since that needs math_verify.
"""

import json
import re
import shutil
from pathlib import Path

import torch
import trl.rewards.accuracy_rewards
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, Qwen2Config
from trl import apply_chat_template
from trl.rewards import (
    get_cosine_scaled_reward, get_repetition_penalty_reward, get_soft_overlong_punishment, think_format_reward,
)

HERE = Path(__file__).parent
TEXTS = [
    "<think>a</think>b", "<think>\na\n</think>\nb", "a<think>b</think>", " <think>b</think>", "\n<think>b</think>",
    "<think>a<think>b</think>", "<think>a</think><think>b</think>", "<think>a</think>b</think>", "<think>a", "</think>", "",
    "<think></think>", "<think>a</think>", "<THINK>a</THINK>", "<think>a</think>\n\n\n", "<think>\n<think>\n</think>",
    "<think >a</think>", "<think>é🙂</think>\n<answer>\n1\n</answer>", "<think>a</ think>", "<think>a\n</think>\n<think>",
    "x\n<think>a</think>", "<think><think></think></think>", "<<think>a</think>", "<think>a</think", "<think>a\r\nb</think>\r\nc",
    "</think><think>", "<think>a\n\n</think>", "<think>\u2028</think>\u2028<think",
]
CHATS = [
    ([("user", "What is 2 + 2?")], "4"),
    ([("system", "You are terse."), ("user", "Name a colour, please.")], "Blue is a colour that I like."),
    ([("user", "hi"), ("assistant", "hello"), ("user", "På svenska?")], "Javisst! Vad vill du veta?\n\nSäg till."),
    ([("user", "Say nothing.")], ""),
    ([("user", "Think.")], "<think>\nso\n</think>\nThe answer is \\boxed{42}."),
]
PLAIN = [
    ("2 + 2 = ", "4"),
    ("", "Only a completion."),
    ("ends in padding", " so<|endoftext|><|endoftext|>"),
    ("a", " b" * 40),
]


BOXED = [
    ("\\boxed{42}", "42"), ("so \\boxed{42}.", "42"), ("\\boxed{ 42}", "42"), ("\\boxed{42} \\boxed{7}", "42"),
    ("\\boxed{42} \\boxed{7}", "7"), ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"), ("\\boxed{\\frac{1}{2}}", "\\frac{1"),
    ("42", "42"), ("", ""), ("\\boxed{}", ""), ("nothing", ""), ("\\boxed{a\nb}", "a\nb"), ("\\boxed{a\nb} \\boxed{c}", "c"),
    ("\\boxed {42}", "42"), ("\\boxed{{42}", "{42"), ("\\boxed{4\u20282}", "4\u20282"), ("\\boxed{4\r2}", "4\r2"),
    ("\\boxed{42", "42"), ("\\Boxed{42}", "42"), ("$\\boxed{1,234}$", "1234"), ("\\boxed{é🙂}", "é🙂"),
]


def users_boxed(completions, ground_truth):
    """The reward function of TRL's documentation that users copy."""
    matches = [re.search(r"\\boxed\{(.*?)\}", completion) for completion in completions]
    contents = [match.group(1) if match else "" for match in matches]
    return [1.0 if c == gt else 0.0 for c, gt in zip(contents, ground_truth)]


def functions():
    # A length for each place where the formulas change, and many between.
    def table(function, lengths):
        return [[n, function(completion_ids=[[1] * n])[0]] for n in lengths]

    overlong = [(100, 20), (100, 0), (10, 10), (7, 3), (20, 1)]
    overlong = [[m, c, table(get_soft_overlong_punishment(m, c), range(m + 3))] for m, c in overlong]
    overlong.append([1280, 256, table(get_soft_overlong_punishment(1280, 256), [0, 1023, 1024, 1025, 1100, 1279, 1280, 1281])])
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, v, (n,), generator=generator).tolist() for n in (0, 1, 2, 3, 4, 9, 30) for v in (1, 2, 5)]
    repetition = [[n, p, get_repetition_penalty_reward(n, p)(completion_ids=ids)] for n in (1, 2, 3, 5) for p in (-1.0, -0.3, 0.0)]
    cosine = []
    for right in (True, False):
        trl.rewards.accuracy_rewards.accuracy_reward = lambda completions, solution: [float(right)] * len(completions)
        for values in ((-1.0, -0.5, 0.5, 1.0), (-10.0, 0.0, 1.0, 2.0)):
            function = get_cosine_scaled_reward(50, *values)
            lengths = [0, 1, 7, 25, 49, 50, 51, 120]
            numbers = function([[{"content": ""}]] * len(lengths), [""] * len(lengths), [[1] * n for n in lengths])
            cosine.append([right, list(values), list(zip(lengths, numbers))])
    return {
        "think_format": [[text, think_format_reward([[{"content": text}]])[0]] for text in TEXTS],
        "boxed": [[c, t, users_boxed([c], [t])[0]] for c, t in BOXED],
        "soft_overlong_punishment": overlong,
        "repetition_penalty": {"ids": ids, "rewards": repetition},
        "cosine_scaled": cosine,
    }


def scores(model, tokenizer, texts):
    inputs = tokenizer(text=texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.inference_mode():
        return model(**inputs).logits[:, 0].tolist()


def models():
    tokenizer = AutoTokenizer.from_pretrained(HERE / "tokenizer")
    sizes = dict(
        vocab_size=608, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, num_labels=1, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=False,
    )
    chats = [
        {"messages": [{"role": r, "content": c} for r, c in prompt], "completion": completion} for prompt, completion in CHATS
    ]
    out = {"chats": chats, "plain": [{"prompt": p, "completion": c} for p, c in PLAIN]}
    for name, config in {"qwen2": Qwen2Config(**sizes), "llama": LlamaConfig(**sizes)}.items():
        torch.manual_seed(len(name))
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.15)
        folder = HERE / "rewards" / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        said = lambda chat: chat["messages"] + [{"role": "assistant", "content": chat["completion"]}]
        texts = [apply_chat_template({"messages": said(chat)}, tokenizer)["text"] for chat in chats]
        out[name] = {
            "chats": scores(model, tokenizer, texts),
            "plain": scores(model, tokenizer, [p + c for p, c in PLAIN]),
        }
    return out


if __name__ == "__main__":
    with open(HERE / "rewards.json", "w") as file:
        json.dump({**functions(), "models": models()}, file, ensure_ascii=False)
