"""proximal beside TRL, PyTorch, transformers and llama.cpp, by turns on the same weights and tokens: one table.

    python compare.py --proximal target/release/proximal --model DIR --data faq.jsonl [--rows sft-f32,decode-b8-bf16]
        [--rounds 3] [--llama bf16=FILE.gguf --llama q4_1=FILE.gguf --llama-python PYTHON]
        [--json out.json] [--plot out.svg]

Each side of a row is a process of its own; a round runs every side once, in the order of the table, and --rounds
rounds are made. A ratio is above 1 where proximal is the better one; min and max are those of the rounds. Memory is
the largest resident set of a process, as the kernel counts it when the process ends. A peer that fails is left out,
and a row whose first side fails; the table says so, the rest goes on, and the exit status is 1. --list describes all
rows. --small runs all at an eighth of the sizes, to see that it runs. How many cores other processes had meanwhile is
measured too: above a few hundredths of one the numbers are not worth keeping, since threads that wait for each other
at every operation, as OpenMP's do, lose more by it than others. Other guests of the machine are seen by cores.py, which
measures each core alone before and after every side. What is the same on both sides:

- the rows of text are made of --data (every text in it, one after another), cut at exact numbers of tokens and read
  in file order; where both sides count tokens, other counts are an error;
- AdamW, constant learning rate, no weight decay, gradients clipped at 1, no dropout, no gradient checkpointing (TRL's
  default is on, which is slower); the first step of every side is left out (allocation, compiling), but TRPO's;
- --threads threads; no end token ends a completion: decoding and reinforcement learning run on a folder whose end
  token is one that no text has, and a completion of another length is an error.

`tuned` is glibc's malloc told to keep memory between steps (MALLOC_ variables), which makes PyTorch faster than as
users run it. proximal's steps are timed from outside, from one line of its log to the next, so what is between two
steps counts for it and not for its peers; a generation ends when completions.jsonl is written.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from sides import CURVES, GOALS, ROWS, SIZES, Failed, pieces, run


def others_seconds():
    """Seconds of processors that went to other processes, or other guests of the machine, since it started."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own


class Cores:
    """cores.py, which waits between measurements."""

    def __init__(self):
        script = pathlib.Path(__file__).resolve().parent / "cores.py"
        self.child = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.rates()

    def rates(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


def measure(args, name, sides, failures):
    """All rounds of a row: side -> its results. A side that fails is left out from there on."""
    chosen = [side for side in sides if isinstance(side, int) or side.startswith("proximal")
              or not args.sides or any(part in side for part in args.sides)]
    found = {side: [] for side in chosen}
    for i in range(args.rounds):
        for side in list(found):
            cores = [args.cores.rates()]
            begin, busy = time.time(), others_seconds()
            try:
                result = sides[side]()
            except (Failed, LookupError, ValueError, OSError) as failure:
                found.pop(side)
                failures[f"{name}, {side}"] = f"{type(failure).__name__}: {failure}"
                print(f"{name}, {side} failed: {failure}", file=sys.stderr, flush=True)
                if side == chosen[0] or not found:
                    raise Failed(f"{side} failed") from failure
                continue
            took = time.time() - begin
            result["others"] = max(others_seconds() - busy, 0.0) / took
            result["cores"] = cores + [args.cores.rates()]
            found[side].append(result)
            shown = f"{name}, round {i + 1}, {side}: {result['value']:.4g}, {result['peak']:.0f} MiB ({took:.0f} s, "
            print(shown + f"others had {result['others']:.2f} cores)", file=sys.stderr, flush=True)
    counts = {side: results[0]["count"] for side, results in found.items() if "count" in results[0]}
    if name in ROWS and len(set(map(tuple, counts.values()))) > 1:
        raise Failed(f"{name}: the sides count different tokens in a step: {counts}")
    return found


def span(values):
    return " - ".join(f"{x:.4g}" for x in (min(values), statistics.median(values), max(values)))


def partner(side, found):
    """The proximal side that a peer stands beside: the one that says the same after its last comma, or the first."""
    ours = [name for name in found if name.startswith("proximal")]
    return next((name for name in ours if "," in name and name.split(", ")[-1] == side.split(", ")[-1]), ours[0])


def table_row(name, found, args):
    what, unit, more, _ = ROWS[name]
    peers = [side for side in found if not side.startswith("proximal")]
    lines = []
    # A row without a peer has proximal beside itself.
    for side in peers or list(found)[1:]:
        theirs, beside = found[side], partner(side, found) if peers else next(iter(found))
        ours = found[beside]
        pairs = list(zip([x["value"] for x in ours], [x["value"] for x in theirs]))
        ratios = [a / b if more else b / a for a, b in pairs]
        middle = [statistics.median(column) for column in zip(*pairs)]
        ratio = middle[0] / middle[1] if more else middle[1] / middle[0]
        memory = [max(x["peak"] for x in results) for results in (ours, theirs)]
        goal = args.goals.get(f"{name}:{side}", args.goals.get(name))
        verdict = "-" if goal is None else f">= {goal:g}: " + ("met" if ratio >= goal else "not met")
        cells = [name, f"{what}, {unit}", span([a for a, _ in pairs]), side, span([b for _, b in pairs]),
                 f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})", f"{memory[0]:.0f}", f"{memory[1]:.0f}",
                 f"{memory[0] / memory[1]:.2f}", verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def remarks(name, found):
    """What belongs beside the numbers: how far the losses are apart, phases, rates."""
    yield f"{name}: others had {max(r['others'] for results in found.values() for r in results):.2f} cores at most"
    # By core, before and after every side.
    rates = zip(*(rates for results in found.values() for r in results for rates in r["cores"]))
    shown = "; ".join(f"{min(r):.0f} - {statistics.median(r):.0f} - {max(r):.0f}" for r in rates)
    yield f"{name}: one core's products of bf16 by PyTorch, core after core, before and after each side: {shown} GFLOP/s"
    for side, results in found.items():
        result = results[-1]
        if "losses" in result and isinstance(side, str) and not side.startswith("proximal"):
            ours = partner(side, found)
            apart = max(abs(a - b) / abs(b) for a, b in zip(found[ours][-1]["losses"], result["losses"]))
            yield f"{name}: losses of the steps, {ours} and {side}: at most {apart:.1e} of them apart"
        if "drawing" in result and name in ROWS:
            whole = result["value"]
            yield f"{name}: {side}: of {whole:.2f} s a step {result['drawing']:.2f} s are drawing and rewards"
        if name == "trpo" and "step_size" not in result:
            yield f"{name}: {side}: {span([x['value'] for x in results])} s"
        if "tokens_per_second" in result:
            rates = span([x["tokens_per_second"] for x in results])
            yield f"{name}: {side}: {rates} completion tokens/s of the whole step"
        if "step_size" in result:
            keys = ["surrogate_improvement", "kl_old_new", "cg_residual", "step_size", "line_search/steps"]
            yield f"{name}: {side}: " + ", ".join(f"{key} {result[key]:.6g}" for key in keys)
        if "forward_backward_seconds" in result:
            passes = result["forward_backward_seconds"]
            ratio = result["value"] / passes
            yield f"{name}: {side}: forward and backward of the batch {passes:.2f} s, the update {ratio:.1f} times"
        if result.get("system"):
            yield f"{name}: {side}: {result['system']} {'; '.join(result['buffers'])}"


def curve_rows(name, found):
    what, x, y, _ = CURVES[name]
    yield f"\n{name}: {what}\n"
    yield f"| {x} | {y}, min - median - max | peak MiB |\n|---|---|---|"
    for point, results in found.items():
        yield f"| {point} | {span([r['value'] for r in results])} | {max(r['peak'] for r in results):.0f} |"


def plot(curves):
    """The curves as SVG, one below another: logarithmic x, y from 0, median with min and max."""
    width, height, out = 640, 260, []
    for row, (name, found) in enumerate(curves.items()):
        what, x_name, y_name, _ = CURVES[name]
        top, points = row * height, list(found.items())
        most = max(r["value"] for results in found.values() for r in results) * 1.1

        def at(i, value):
            return 70 + i * (width - 100) / max(len(points) - 1, 1), top + 210 - value / most * 170

        out.append(f'<text x="{width / 2}" y="{top + 22}" text-anchor="middle">{what}</text>')
        out.append(f'<path d="M70 {top + 40}V{top + 210}H{width - 20}" fill="none" stroke="black"/>')
        for part in range(5):
            y = at(0, most * part / 4)[1]
            out.append(f'<text x="64" y="{y + 4:.1f}" text-anchor="end">{most * part / 4:.0f}</text>')
            out.append(f'<path d="M70 {y:.1f}H{width - 20}" stroke="#ddd"/>')
        line = []
        for i, (point, results) in enumerate(points):
            values = [r["value"] for r in results]
            x, y = at(i, statistics.median(values))
            line.append(f"{x:.1f},{y:.1f}")
            out.append(f'<path d="M{x:.1f} {at(i, min(values))[1]:.1f}V{at(i, max(values))[1]:.1f}" stroke="#06c"/>')
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#06c"/>')
            out.append(f'<text x="{x:.1f}" y="{top + 226}" text-anchor="middle">{point}</text>')
        out.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="#06c"/>')
        out.append(f'<text x="{width / 2}" y="{top + 244}" text-anchor="middle">{x_name}; up: {y_name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height * len(curves)}" '
    return head + 'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n' \
        + "\n".join(out) + "\n</svg>\n"


def machine(args):
    name = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl"))
    ours = run([args.proximal, "--version"])[0].strip()
    return f"{name or platform.processor()}, {os.cpu_count()} cores, {args.threads} threads; {ours}; {versions}"


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--proximal", default="target/release/proximal")
    p.add_argument("--model", help="Hugging Face folder")
    p.add_argument("--data", help="JSON lines of text")
    p.add_argument("--rows", help="names, with commas; sft or decode-b8 takes all that begin so [all]")
    p.add_argument("--sides", action="append", default=[], metavar="TEXT", help="only peers whose name has this text")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=1, help="measured optimizer steps, after the first")
    p.add_argument("--small", action="store_true", help="an eighth of the sizes, to see that it runs")
    p.add_argument("--graph", choices=["keep", "anew"], default="keep", help="trpo_torch.py's; anew takes less memory")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--llama", action="append", default=[], metavar="NAME=FILE", help="a GGUF file for llama.cpp; the "
                   "one called f32 stands beside the f32 rows of decoding, any other beside the bf16 rows")
    p.add_argument("--llama-python", default=sys.executable, help="a Python that has llama-cpp-python")
    p.add_argument("--goal", action="append", default=[], metavar="ROW[:SIDE]=RATIO")
    p.add_argument("--json", help="write all that was measured here")
    p.add_argument("--plot", help="write the curves here, SVG")
    p.add_argument("--list", action="store_true", help="describe the rows and end")
    args = p.parse_args()
    if not args.list and not (args.model and args.data):
        p.error("--model and --data are needed")
    if not args.list:
        for option, path in (("--model", pathlib.Path(args.model) / "tokenizer.json"), ("--data", pathlib.Path(args.data))):
            if not path.is_file():
                p.error(f"{option}: expected a file {path}, found none")
    for name, size in SIZES.items():
        setattr(args, name, max(size // 8, 2) if args.small else size)
    args.llama = dict(pair.split("=", 1) for pair in args.llama)
    args.goals = GOALS | {row: float(x) for row, x in (pair.rsplit("=", 1) for pair in args.goal)}
    names = list(ROWS) + list(CURVES)
    wanted = args.rows.split(",") if args.rows else names
    args.chosen = [name for name in names if any(name == w or name.startswith(w + "-") for w in wanted)]
    for w in wanted:
        if not any(name == w or name.startswith(w + "-") for name in names):
            p.error(f"--rows: expected some of {', '.join(names)}, found {w}")
    return args


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.list:
        for name in args.chosen:
            what, unit = (ROWS.get(name) or CURVES[name])[:2]
            print(f"{name}: {what}; {unit}")
        return
    args.proximal = str(pathlib.Path(args.proximal).resolve())
    everything, failures = {"machine": machine(args), "rounds": args.rounds, "small": args.small, "rows": {}}, {}
    with tempfile.TemporaryDirectory(prefix="peers-") as work:
        args.work = pathlib.Path(work)
        args.pieces, args.cores = pieces(args), Cores()
        for name in args.chosen:
            try:
                sides = (ROWS.get(name) or CURVES[name])[3](args)
                everything["rows"][name] = measure(args, name, sides, failures)
            except Failed as failure:
                failures[name] = str(failure)
                print(f"{name} failed: {failure}", file=sys.stderr, flush=True)
            if args.json:
                text = json.dumps(everything | {"failures": failures}, indent=1)
                pathlib.Path(args.json).write_text(text, encoding="utf-8")
    found = everything["rows"]
    curves = {name: found[name] for name in CURVES if name in found}
    print(f"{everything['machine']}; {args.rounds} rounds by turns\n")
    if args.small:
        print("--small: an eighth of the sizes that are named. The numbers mean nothing.\n")
    print("| row | | proximal, min - median - max | peer | its min - median - max | ratio of the medians (by round) | "
          "peak MiB | its peak MiB | ratio | goal |\n|---|---|---|---|---|---|---|---|---|---|")
    for name in args.chosen:
        if name in found and name in ROWS:
            print("\n".join(table_row(name, found[name], args)))
        for failed in (key for key in failures if key == name or key.startswith(name + ", ")):
            print(f"| {failed} | failed: {failures[failed].splitlines()[-1]} |")
    for name in curves:
        print("\n".join(curve_rows(name, curves[name])))
    notes = [note for name in args.chosen if name in found for note in remarks(name, found[name])]
    if notes:
        print("\n- " + "\n- ".join(notes))
    if args.plot and curves:
        pathlib.Path(args.plot).write_text(plot(curves), encoding="utf-8")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
