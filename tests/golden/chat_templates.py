#!/usr/bin/env python3
"""usage: chat_templates.py [--all FILE] [--qwen FOLDER]

Renders chat templates with transformers and tokenises samples with TRL's own SFTTrainer, and writes beside itself
  chat.json        templates, conversations, rendered texts or the error
  samples.json     ids and trained tokens of texts, prompt-completion pairs and conversations
  samples_qwen.json, with --qwen: the same with Qwen2.5's tokenizer, which FOLDER holds
  tokenizer/       the small byte-level BPE tokenizer that samples.json is made with
With --all every template that TRL ships is rendered too, into FILE, which is large: PROXIMAL_GOLDEN_CHAT=FILE tests it.
Made with transformers 5.23.0 and TRL 1.16.0; the templates other than those written here are TRL's copies (Apache-2.0).
"""
import datetime, json, logging, sys, types
from pathlib import Path

import datasets
import jinja2
import tokenizers
import transformers
import trl
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
TRL = Path(trl.__file__).parent / "chat_templates"
NOW = datetime.datetime(2026, 3, 5, 16, 7, 9)
VERSIONS = {m.__name__: m.__version__ for m in (transformers, trl, tokenizers, jinja2)}
logging.disable(logging.WARNING)
datasets.disable_progress_bars()


class FixedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FixedDatetime

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a "
    "helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The span that objectives.md trains, marked: content + "<|im_end|>\n".
CHATML_MARKED = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>\\n' }}{%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
# The marker around the bare content: the spans end inside a line and may be empty.
BARE_MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}</{{ m.role }}>\n{% endfor %}"
)
# What Python prints and does where other engines differ.
EDGES = """{#- a comment with {% generation %} in it -#}
{% raw %}{{ raw }} {% generation %}{% endraw %}
  {% set ns = namespace(n=0, seen=[]) %}
    {%+ if true %}kept indent{% endif +%}

{% for m in messages %}
  {% if loop.index0 == 3 %}{% break %}{% endif %}
  {% if m.role == 'system' %}{% continue %}{% endif %}
  {% set ns.n = ns.n + 1 %}
{{ loop.index }}/{{ loop.length }} {{ m.role | upper }}: {{ m.content | trim }}|{{ m.content.strip() }}|{{ m.content.split(' ')[-1] }}
  {{- ' last' if loop.last }}{{ ' prev ' + loop.previtem.role if loop.previtem is defined }}
{% endfor %}
n={{ ns.n }} {{ none }} {{ true }} {{ false }} {{ undefined_name }}{{ undefined_name is defined }}
{{ 1 }} {{ 1.0 }} {{ 0.1 }} {{ 1e20 }} {{ 1e-7 }} {{ 123456789.125 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 3 }} {{ 2 ** 3 }}
{{ [1, 'a', none, true, 1.5, "it's", 'q"', 'n\\n'] }} {{ {'k': 'v', 'n': [1, {}]} }} {{ 'x' ~ 1 ~ none ~ true }}
{{ messages[0] }} {{ messages[-1].content[1:4] }} {{ messages[::-1][0].role }} {{ 'ab' * 2 }} {{ 'b' in 'abc' }} {{ 'k' not in {'k': 1} }}
{{ {'b': 1, 'a': ['<&>', 'é', "'", '"', '\\\\', '/'], 'f': 1.0, 'e': 1e22, 's': 1e-5, 'z': none, 't': true, 'o': {}, 'l': []} | tojson }}
{{ {'b': 1, 'a': [1, {'c': 2}], 'l': [], 'o': {}} | tojson(indent=2) }}
{{ {'b': 1, 'a': 'é😀'} | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}
{% macro show(x, y='d') %}[{{ x }}:{{ y }}]{% endmacro %}
{{ show(1) }}{{ show('a', y='b') }}
{%- for k, v in {'p': 1, 'q': 2}.items() %} {{ k }}={{ v }}{% endfor %}
{%- for k, v in {'q': 1, 'p': 2} | dictsort %} {{ k }}={{ v }}{% else %}none{% endfor %}

{{ messages | map(attribute='role') | join(', ') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ 'a,b,c'.split(',') | last }} {{ 'Hello World'.lower().replace('o', '0') }} {{ 'x'.startswith('x') }} {{ 'abc'.find('c') }} {{ 'a b'.title() }}
{{ 'pre-fix'.removeprefix('pre') }} {{ 'a=b=c'.partition('=')[2] }} {{ 'a=b=c'.rpartition('=')[0] }} {{ 'xxhixx'.strip('x') }} {{ ' a\\x1c '.strip() }}|
{{ messages is iterable }} {{ messages[0] is mapping }} {{ 'a' is string }} {{ 1 is number }} {{ none is none }} {{ messages is string }}
{{ strftime_now('%d %b %Y|%A %B %-d %H:%M:%S %j %y %I %p %%') }} {{ bos_token }}{{ eos_token }}
{{ (1, 2)[0] }} {{ range(3) | list }} {{ 'abc' | first }} {{ undefined_name | default('fallback') }} {{ 'a' if false else 'b' }}
{%- filter upper %} filtered{% endfilter %}
{% set block %}captured {{ 1 }}{% endset %}{{ block }} {{ '\\u00e9\\t' }}|{{- "\\n" -}}| {{ "%}" }}
{%- if tools %} tools {{ tools | length }}{% endif %}{% if documents is not none %} documents{% endif %}
{% if add_generation_prompt %}PROMPT{% endif %}

"""
RAISES = "{% if messages[0].role == 'system' %}\n{{ raise_exception('System role not supported: ' + messages[0].content) }}{% endif %}ok"

SPECIAL = dict(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>")
TEMPLATES = {n: (TRL / f"{n}.jinja").read_text() for n in
             ("qwen2_5", "qwen2_5_training", "qwen3", "qwen3_training", "llama3", "llama3_training", "llama3_2", "gemma", "phi3")}
TEMPLATES |= dict(smollm2=SMOLLM2, chatml=CHATML, chatml_marked=CHATML_MARKED, bare_marked=BARE_MARKED, edges=EDGES, raises=RAISES)


def m(role, content, **more):
    return {"role": role, "content": content, **more}


WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather <now> in a \"city\" & its près",
           "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Zürich", "東京"]},
           "days": {"type": "integer", "default": 1}, "x": {"type": "number", "minimum": 0.5, "maximum": 1e16}}, "required": ["city"]}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "東京", "days": 2, "x": 1e-05}}}
CONVERSATIONS = {
    "user": dict(messages=[m("user", "What is 2 + 2?")]),
    "system": dict(messages=[m("system", "Be brief."), m("user", "Hi"), m("assistant", "Hello!")]),
    "turns": dict(messages=[m("user", "One"), m("assistant", "Two"), m("user", "Three\n"), m("assistant", "\n Four  ")]),
    "unicode": dict(messages=[m("user", "Grüße, 世界 👩‍🚀 — “quoted” 'single' \"double\" <b>&amp;</b> \\n"), m("assistant", "Привет\n\n```py\nx = {'a': \"b\"}\n```\n")]),
    "empty": dict(messages=[m("system", ""), m("user", ""), m("assistant", "")]),
    "tools": dict(messages=[m("system", "Use tools."), m("user", "Weather?"), m("assistant", "", tool_calls=[CALL]),
                            m("tool", "{\"t\": 3}", name="weather"), m("assistant", "3 degrees")], tools=[WEATHER]),
    "two_tools": dict(messages=[m("user", "Weather?"), m("assistant", "Let me see.", tool_calls=[CALL, CALL["function"]]),
                                m("tool", "3"), m("tool", "4"), m("assistant", "Cold.", tool_calls=None)], tools=[WEATHER, WEATHER]),
    "thinking": dict(messages=[m("user", "Q"), m("assistant", "<think>\nhm\n</think>\n\nA"), m("user", "R"),
                               m("assistant", "B", reasoning="why not"), m("user", "S")], variables={"enable_thinking": False}),
    "variables": dict(messages=[m("user", "Q")], variables={"enable_thinking": True, "date_string": "1 Jan 2001", "bos_token": "<B>"},
                      documents=[{"title": "T", "text": "D"}]),
    "null": dict(messages=[m("user", "Q"), m("assistant", None, tool_calls=None)]),
}


def tokenizer():
    """A byte-level BPE of a few hundred tokens, with Qwen2.5's splitting and ChatML's special tokens."""
    qwen = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tk = Tokenizer(models.BPE())
    tk.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(qwen), "isolated"),
                                                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tk.post_processor = processors.ByteLevel(trim_offsets=False)
    tk.decoder = decoders.ByteLevel()
    text = [TEMPLATES["qwen2_5"], EDGES, __doc__, json.dumps(CONVERSATIONS, ensure_ascii=False), "system user assistant\n\n"] * 2
    tk.train_from_iterator(text, trainers.BpeTrainer(vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    tk.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tk.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    d = HERE / "tokenizer"
    d.mkdir(exist_ok=True)
    j = json.loads(tk.to_str())
    (d / "tokenizer.json").write_text(json.dumps(j, ensure_ascii=False, separators=(",", ":")) + "\n")
    (d / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=None, eos_token={"__type": "AddedToken", "content": "<|im_end|>", "special": True},
        pad_token="<|endoftext|>", unk_token=None, clean_up_tokenization_spaces=False, model_max_length=1024, chat_template=TEMPLATES["qwen2_5"]),
        indent=1) + "\n")
    return PreTrainedTokenizerFast.from_pretrained(d)


def render(tok, template, c, prompt):
    try:
        return dict(text=tok.apply_chat_template(c["messages"], tools=c.get("tools"), documents=c.get("documents"), chat_template=template,
                                                 add_generation_prompt=prompt, tokenize=False, **c.get("variables", {})))
    except (jinja2.TemplateError, TypeError, ValueError) as e:
        return dict(error=f"{type(e).__name__}: {e}")


def generated(tok, template, c):
    """Where {% generation %} blocks wrote, in characters of the text."""
    messages = [{k: v for k, v in message.items() if v is not None} for message in c["messages"]]
    _, spans = chat_template_utils.render_jinja_template([messages], tools=c.get("tools"), documents=c.get("documents"), chat_template=template,
                                                         return_assistant_tokens_mask=True, **{**tok.special_tokens_map, **c.get("variables", {})})
    return [list(span) for span in spans[0] if span[0] < span[1]]


def renders(templates, tok):
    rows = []
    for t, source in templates.items():
        for c, conversation in CONVERSATIONS.items():
            off, on = (render(tok, source, conversation, p) for p in (False, True))
            row = dict(template=t, conversation=c, **off)
            if "text" in off and "text" in on and on["text"].startswith(off["text"]):
                row["prompt"] = on["text"][len(off["text"]):]
            elif "text" in off:
                row["prompted"] = on.get("text")
            if "text" in off and "generation %}" in source:
                row["generated"] = generated(tok, source, conversation)
            rows.append(row)
    return dict(versions=VERSIONS, now=int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()), special_tokens=SPECIAL, templates=templates,
                conversations=CONVERSATIONS, renders=rows)


def prepare(tok, template, row, completion, assistant):
    """Ids and labels as TRL's SFTTrainer prepares a dataset of this one row."""
    from trl.trainer.sft_trainer import SFTTrainer
    t = SFTTrainer.__new__(SFTTrainer)
    t._tokenizer, t.chat_template, t.completion_only_loss = tok, template, completion
    args = types.SimpleNamespace(dataset_num_proc=None, dataset_text_field="text", assistant_only_loss=assistant, max_length=None, shuffle_dataset=False)
    out = t._prepare_dataset(Dataset.from_list([row]), tok, args, False, None, "golden")[0]
    return dict(ids=out["input_ids"], mask="".join("0" if label == -100 else "1" for label in out["labels"]))


def samples(tok):
    rows = []

    def add(template, row, completion=False, assistant=False):
        try:
            out = prepare(tok, TEMPLATES.get(template), row, completion, assistant)
        except RuntimeError:
            out = dict(error="no assistant tokens")
        rows.append(dict(template=template, row=row, completion=completion, assistant=assistant, **out))

    for text in ("Plain text.", "Ends already<|im_end|>", "", "Zwölf Boxkämpfer\n\n世界 <think> 👩‍🚀", "<|im_start|>user\nx"):
        add(None, {"text": text})
    for prompt, completion in (("Q: 1+1?\nA:", " 2"), ("ab", "sent"), ("no space", ""), ("the ass", "istant"), ("x", "y<|im_end|>"), ("", "all"), ("Ü", "ber 世")):
        for only in (False, True):
            add(None, {"prompt": prompt, "completion": completion}, only)
    plain = {k: CONVERSATIONS[k]["messages"] for k in ("system", "turns", "unicode", "empty")}
    for name, messages in plain.items():
        for t in ("qwen2_5", "smollm2"):
            add(t, {"messages": messages})
        for t in ("chatml_marked", "bare_marked", "qwen2_5_training", "llama3_training"):
            # Of an empty block transformers trains the token around it, where there is one: not followed.
            if (t, name) != ("bare_marked", "empty"):
                add(t, {"messages": messages}, assistant=True)
        for t in ("qwen2_5", "smollm2", "chatml_marked"):
            add(t, {"prompt": messages[:-1], "completion": messages[-1:]}, True)
        add("chatml_marked", {"prompt": messages[:1], "completion": messages[1:]}, True, True)
    add("chatml_marked", {"messages": CONVERSATIONS["user"]["messages"]}, assistant=True)
    add("qwen2_5", {"prompt": plain["turns"][:1], "completion": plain["turns"][1:2]})
    for t in ("qwen2_5_training", "qwen3_training"):
        add(t, {"messages": CONVERSATIONS["tools"]["messages"], "tools": json.dumps([WEATHER])}, assistant=True)
    decoded = [dict(ids=ids, text=tok.decode(ids), skipped=tok.decode(ids, skip_special_tokens=True)) for ids in
               [r["ids"] for r in rows[3:9]] + [[224, 5, 230, 240, 159], list(range(60, 110))]]
    return dict(versions=VERSIONS, rows=rows, decoded=decoded)


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    tok = tokenizer()
    write("samples.json", samples(tok))
    if "--qwen" in sys.argv:
        write("samples_qwen.json", samples(transformers.AutoTokenizer.from_pretrained(sys.argv[sys.argv.index("--qwen") + 1])))
    for name, text in SPECIAL.items():
        setattr(tok, name, text)
    write("chat.json", renders(TEMPLATES, tok))
    if "--all" in sys.argv:
        write(Path(sys.argv[sys.argv.index("--all") + 1]).absolute(), renders({p.stem: p.read_text() for p in sorted(TRL.glob("*.jinja"))}, tok))
