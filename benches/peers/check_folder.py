"""Load a Hugging Face folder with transformers, unchanged, and write or compare logits.

    python check_folder.py DIR --text "What is AI?" --out logits.safetensors
    python check_folder.py DIR --ids 1,2,3 --compare logits.safetensors --tolerance 1e-4

The file holds `logits` (N, V) in f32 and, when this script wrote it, `ids` (N), which --compare then uses. Exits 1 when the
largest absolute difference is above the tolerance, or when a weight is missing, unexpected or not finite.
"""

import argparse
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--ids", help="token ids, separated by commas")
    p.add_argument("--text", help="text to tokenise instead")
    p.add_argument("--out", help="write logits here")
    p.add_argument("--compare", help="compare with the logits of this file")
    p.add_argument("--tolerance", type=float, default=1e-4)
    p.add_argument("--dtype", choices=["f32", "bf16", "f64"], default="f32")
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = p.parse_args()
    torch.set_num_threads(args.threads)

    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f64": torch.float64}[args.dtype]
    model, info = AutoModelForCausalLM.from_pretrained(args.folder, dtype=dtype, output_loading_info=True)
    problems = {key: sorted(map(str, value)) for key, value in info.items() if value}
    bad = [name for name, t in model.named_parameters() if not t.isfinite().all()]
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    print(f"{type(model).__name__}, {sum(t.numel() for t in model.parameters())} parameters; "
          f"{type(tokenizer).__name__}, {len(tokenizer)} tokens")
    if problems or bad:
        sys.exit(f"loading: {problems}; not finite: {bad}")

    given = load_file(args.compare) if args.compare else {}
    if args.ids:
        ids = [int(i) for i in args.ids.split(",")]
    elif args.text is not None:
        ids = tokenizer(args.text)["input_ids"]
    elif "ids" in given:
        ids = given["ids"].tolist()
    else:
        sys.exit("give --ids or --text")
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].float().contiguous()
    print(f"ids {ids}\nbest next tokens {logits.argmax(-1).tolist()}")
    if args.out:
        save_file({"ids": torch.tensor(ids), "logits": logits}, args.out)
    if args.compare:
        other = given["logits"].float()
        if other.shape != logits.shape:
            sys.exit(f"{args.compare}: logits: expected shape {tuple(logits.shape)}, found {tuple(other.shape)}")
        difference = (logits - other).abs()
        row, column = divmod(difference.argmax().item(), logits.shape[1])
        worst = difference.max().item()
        print(f"max abs difference {worst:.3e} at row {row}, token {column}; tolerance {args.tolerance:.0e}")
        if not worst <= args.tolerance:
            sys.exit(1)


if __name__ == "__main__":
    main()
