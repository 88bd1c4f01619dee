#!/usr/bin/env python3
"""How cost grows with the catalogue: `python3 benches/rivals/growth.py --data DIR --dataset sift-photos-128 --sizes 10000,100000,1000000`.

For each size the first so many vectors are a catalogue of their own, with exact neighbours found anew: build time, file, memory, time to
open, and QPS at two recalls (the least ef that reaches each). Against the logarithm of n a straight line is fitted to the logarithm of
each: its slope is the exponent. Indexes and recalls are kept in the cache as run.py's, so `--stage prepare` may come before
`--stage measure`. `--only` takes rivals too; by default Shortlist alone.
"""

import argparse
import copy
import json
import math
import statistics
import sys
from pathlib import Path

import field
import report

RECALLS = (0.95, 0.99)
FIGURES = {
    "build_s": "build s", "file_bytes": "file MB", "memory_bytes": "memory MB", "open_s": "open ms",
    "us_0.95": "us a query @0.95", "us_0.99": "us a query @0.99",
}  # fmt: skip
SCALE = {"file_bytes": 1e-6, "memory_bytes": 1e-6, "open_s": 1e3}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    field.add_options(parser)
    add = parser.add_argument
    add("--dataset", default="sift-photos-128", metavar="NAME", help="(default: sift-photos-128)")
    add("--sizes", default="10000,100000,1000000", metavar="N,N", help="(default: %(default)s)")
    add("--rounds", type=int, default=5, help="(default: %(default)s)")
    add("--stage", choices=["all", "prepare", "measure"], default="all", help="as run.py's")
    options = parser.parse_args()
    options.only = options.only or "shortlist"
    if not options.data:
        parser.error("--data is missing: the folder of the datasets")
    return options


def at_size(size, options):
    """{label: figures} of one size."""
    options = copy.copy(options)
    options.limit_base = size
    dataset, judge = field.prepare(options.dataset, options)
    failures = {}
    everybody = field.line_up(options, dataset, judge, failures)
    if options.stage != "measure":
        field.build_all(everybody, failures)
        field.tune_all(everybody, failures)
    if options.stage == "prepare":
        return {}
    everybody = [c for c in everybody if c.load_build() and c.load_recalls()]
    out = {}
    for contestant in field.load_all(everybody, dataset, failures):
        figures = {
            "build_s": contestant.build_record["build_s"], "file_bytes": contestant.build_record["index_bytes"],
            "open_s": contestant.load_record["load_s"],
        }  # fmt: skip
        for recall in RECALLS:
            ef = field.least_ef(contestant.recalls, recall)
            if ef:
                runs = [contestant.qps_at(ef) for _ in range(options.rounds)]
                figures[f"us_{recall}"] = 1e6 / statistics.median(runs)
        figures["memory_bytes"] = contestant.memory()
        figures["ceiling"] = max(contestant.recalls.values())
        contestant.stop()
        out[contestant.label] = figures
    field.note(f"{dataset.rows:,}: {len(out)} measured; {failures or 'no failures'}")
    return out


def exponent(points):
    """Slope of the least squares line through the logarithms of (n, figure)."""
    logs = [(math.log(n), math.log(value)) for n, value in points if value > 0]
    if len(logs) < 2:
        return None
    x, y = zip(*logs)
    middle = statistics.fmean(x), statistics.fmean(y)
    return sum((a - middle[0]) * (b - middle[1]) for a, b in logs) / sum((a - middle[0]) ** 2 for a in x)


def table(result):
    lines = [
        f"## Growth of {result['dataset']}, k {result['k']}",
        "",
        f"{result['machine']['processor']}, {result['machine']['cores']} cores, {result['build_threads']} threads build, one searches.",
        "",
        *report.header(["", "n", *FIGURES.values(), "ceiling"]),
    ]
    for label, sizes in result["contestants"].items():
        for size, figures in sizes.items():
            cells = [f"{figures[name] * SCALE.get(name, 1):,.4g}" if name in figures else "-" for name in FIGURES]
            lines.append(f"| {label} | {int(size):,} | " + " | ".join(cells) + f" | {figures['ceiling']:.4f} |")
        slopes = [exponent(points(sizes, name)) for name in FIGURES]
        lines.append(f"| {label} | exponent | " + " | ".join("-" if s is None else f"{s:.2f}" for s in slopes) + " | |")
    return "\n".join(lines) + "\n"


def points(sizes, name):
    return [(int(size), figures[name]) for size, figures in sizes.items() if name in figures]


def plot(result, stem):
    from matplotlib import pyplot

    with pyplot.rc_context({"font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "growth"}):
        figure, grid = pyplot.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
        for axes, (name, title) in zip(grid.flat, FIGURES.items()):
            for label, sizes in result["contestants"].items():
                line = points(sizes, name)
                if line:
                    n, values = zip(*line)
                    slope = exponent(line)
                    word = label if slope is None else f"{label}: n^{slope:.2f}"
                    axes.plot(n, [value * SCALE.get(name, 1) for value in values], marker="o", label=word)
            axes.set(xscale="log", yscale="log", title=title, xlabel="vectors")
            axes.grid(True, color="#dddddd", linewidth=0.8)
            axes.legend(frameon=False, fontsize=8)
        figure.suptitle(f"{result['dataset']}: growth", x=0.01, ha="left", fontweight="bold")
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        pyplot.close(figure)


def main():
    options = parse_arguments()
    contestants = {}
    for size in map(int, options.sizes.split(",")):
        for label, figures in at_size(size, options).items():
            contestants.setdefault(label, {})[str(size)] = figures
    if options.stage == "prepare":
        return 0
    result = {
        "dataset": options.dataset, "k": options.k, "build_threads": options.build_threads, "machine": field.machine(),
        "contestants": contestants,
    }  # fmt: skip
    stem = Path(options.out) / f"growth-{options.dataset}-k{options.k}"
    field.write_json(stem.with_suffix(".json"), result)
    stem.with_suffix(".md").write_text(table(result))
    plot(result, stem)
    print("\n" + table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
