"""A TRPO step in PyTorch, products with the Fisher matrix by double backward, on the completions of a `proximal trpo`
run.

    python trpo_torch.py --model DIR --completions out/completions.jsonl --batch 8 [--graph anew] [--repeat 2]

The same step as `proximal trpo` (docs/online.md), f32: the surrogate mean_t w A over the completion tokens of the
run's first step with the run's advantages; F v is the gradient of (gradient of the mean KL(old || new) over the whole
vocabulary) . v; --cg-iters conjugate gradients on F + damping; sqrt(2 max_kl / x'(F + damping)x) x, shortened until
the surrogate improves and the KL is within max_kl. --graph keep (the default) builds the graph of the KL's gradient
once and goes through it for each product, anew builds it for each product: slower, with less memory. Only the logits
of completion tokens are computed. Attention is transformers' eager one, since the fused one has no second derivative;
the one forward and backward pass that is timed for scale (`forward_backward_seconds`) has the fused one. Prints a
JSON line for each of --repeat steps from the same weights (seconds and what `proximal trpo` logs), then the peak
resident memory.
"""

import argparse
import json
import resource
import time

import torch
from transformers import AutoModelForCausalLM


def batches(path, size):
    """Micro-batches of (ids, mask, rows and positions that predict, targets, advantage of each)."""
    lines = [line for line in map(json.loads, open(path, encoding="utf-8")) if line["step"] == 1]
    for first in range(0, len(lines), size):
        chunk = lines[first : first + size]
        rows = [line["prompt_ids"] + line["completion_ids"] for line in chunk]
        n = max(map(len, rows))
        ids = torch.tensor([row + [0] * (n - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (n - len(row)) for row in rows])
        where, targets, advantages = [], [], []
        for i, line in enumerate(chunk):
            start = len(line["prompt_ids"]) - 1
            where += [(i, start + k) for k in range(len(line["completion_ids"]))]
            targets += line["completion_ids"]
            advantages += [line["advantage"]] * len(line["completion_ids"])
        yield ids, None if mask.all() else mask, torch.tensor(where).T, torch.tensor(targets), torch.tensor(advantages)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--completions", required=True, help="completions.jsonl of a run of proximal trpo")
    p.add_argument("--batch", type=int, default=8, help="completions in a micro-batch")
    p.add_argument("--graph", choices=["keep", "anew"], default="keep")
    p.add_argument("--repeat", type=int, default=1)
    p.add_argument("--max-kl", type=float, default=0.01)
    p.add_argument("--cg-iters", type=int, default=10)
    p.add_argument("--cg-damping", type=float, default=0.1)
    p.add_argument("--backtrack-coeff", type=float, default=0.8)
    p.add_argument("--backtrack-iters", type=int, default=10)
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model.get_input_embeddings().padding_idx = None
    params = list(model.parameters())
    weights = [param.data for param in params]
    pieces = list(batches(args.completions, args.batch))
    tokens = sum(len(targets) for _, _, _, targets, _ in pieces)

    def log_probs(piece):
        ids, mask, (row, position), _, _ = piece
        hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return model.lm_head(hidden[row, position]).log_softmax(-1)

    def surrogate(logp, old, piece):
        targets, advantages = piece[3].unsqueeze(1), piece[4]
        return ((logp.gather(1, targets) - old.gather(1, targets)).squeeze(1).exp() * advantages).sum() / tokens

    def divergence(logp, old):
        return (old.exp() * (old - logp)).sum() / tokens

    def dot(a, b):
        return sum(torch.dot(x.reshape(-1), y.reshape(-1)) for x, y in zip(a, b))

    def place(origin, length, x):
        torch._foreach_copy_(weights, origin)
        torch._foreach_add_(weights, x, alpha=length)

    for attempt in range(2):  # The first warms up.
        start = time.perf_counter()
        for piece in pieces:
            logp = log_probs(piece)
            torch.autograd.grad(surrogate(logp, logp.detach(), piece), params)
        forward_backward = time.perf_counter() - start
    del logp
    model.set_attn_implementation("eager")

    for step in range(1, args.repeat + 1):
        start = time.perf_counter()
        before, gradient, olds, kept = 0.0, [torch.zeros_like(w) for w in weights], [], []
        for piece in pieces:
            logp = log_probs(piece)
            old = logp.detach()
            value = surrogate(logp, old, piece)
            keep = args.graph == "keep"
            torch._foreach_add_(gradient, torch.autograd.grad(value, params, retain_graph=keep))
            before += value.item()
            olds.append(old)
            if keep:
                kept.append(torch.autograd.grad(divergence(logp, old), params, create_graph=True))
            del logp, value

        def product(v):
            out = torch._foreach_mul(v, args.cg_damping)
            for i, piece in enumerate(pieces):
                if kept:
                    grads = kept[i]
                else:
                    grads = torch.autograd.grad(divergence(log_probs(piece), olds[i]), params, create_graph=True)
                # The gradient of (grads . v): v is what goes back through the graph of the gradient.
                torch._foreach_add_(out, torch.autograd.grad(grads, params, v, retain_graph=bool(kept)))
            return out

        x, residual, direction = [torch.zeros_like(w) for w in weights], *([g.clone() for g in gradient] for _ in "rp")
        square = first = dot(residual, residual).item()
        for _ in range(args.cg_iters):
            image = product(direction)
            alpha = square / dot(direction, image).item()
            torch._foreach_add_(x, direction, alpha=alpha)
            torch._foreach_add_(residual, image, alpha=-alpha)
            del image
            square, last = dot(residual, residual).item(), square
            torch._foreach_mul_(direction, square / last)
            torch._foreach_add_(direction, residual)
        kept.clear()
        full = (2 * args.max_kl / (dot(x, gradient) - dot(x, residual)).item()) ** 0.5

        origin, moved = [w.clone() for w in weights], False
        with torch.inference_mode():
            for tried in range(args.backtrack_iters):
                length = full * args.backtrack_coeff**tried
                place(origin, length, x)
                after, kl = 0.0, 0.0
                for piece, old in zip(pieces, olds):
                    logp = log_probs(piece)
                    after += surrogate(logp, old, piece).item()
                    kl += divergence(logp, old).item()
                if moved := after > before and kl <= args.max_kl:
                    break
        seconds = time.perf_counter() - start
        place(origin, 0.0, x)
        print(json.dumps({
            "step": step, "seconds": seconds, "forward_backward_seconds": forward_backward, "tokens": tokens,
            "surrogate_improvement": after - before if moved else 0.0, "kl_old_new": kl if moved else 0.0,
            "cg_iters": args.cg_iters, "cg_residual": (square / first) ** 0.5,
            "step_size": length if moved else 0.0, "line_search/steps": tried + 1,
        }), flush=True)
    print(json.dumps({"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
