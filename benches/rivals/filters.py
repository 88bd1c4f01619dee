"""Filtered search beside the rivals that filter: `python3 benches/rivals/filters.py --data DIR`.

The same filters for all (filtering.py), at six selectivities and of three kinds; recall over min(k, matching) against exact
search; one thread. Each contestant raises ef until its recall reaches --target, or until --patience seconds are spent on one
filter; the table has the QPS at the first ef that reached it, or the best recall it came to. Indexes are those of run.py, from
the same cache. Preparing a filter (a bitmap, a condition's text) is not timed, as a server would keep it.
"""

import argparse
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

import contestants
import datasets
import filtering
import rivals

HERE = Path(__file__).resolve().parent
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001, 0.0001)
EFS = (100, 200, 400, 800, 1600)
SMALL = 200_000  # qdrant-edge takes longer than all others together to build more
GRID = [
    ("hnsw_rs", "hnsw_rs M=16", {"M": 16, "efc": 200, "kernel": "simdeez"}),
    ("hnswlib", "hnswlib M=16", {"M": 16, "efc": 200}),
    ("usearch", "usearch f16 M=16", {"dtype": "f16", "M": 16, "efc": 200}),
    ("faiss", "faiss HNSW SQ8 M=16", {"storage": "sq8", "M": 16, "efc": 200}),
    ("faiss", "faiss HNSW Flat M=16", {"storage": "flat", "M": 16, "efc": 200}),
    ("qdrant", "qdrant-edge M=16", {"M": 16, "efc": 200}),
    ("zvec", "zvec M=16", {"M": 16, "efc": 200}),
]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="the folder of debian-packages-384 and sift-photos-128")
    add("--dataset", action="append", choices=datasets.NAMES, help="(default: both)")
    add("--only", metavar="A,B", help="take part: shortlist, hnsw_rs, hnswlib, usearch, faiss, qdrant, zvec")
    add("--kind", action="append", choices=filtering.KINDS, help="(default: all three)")
    add("--share", action="append", type=float, metavar="S", help="of the items that match, 0 to 1 (default: six)")
    add("--k", type=int, default=100)
    add("--target", type=float, default=0.98, help="recall at which QPS is read (default: %(default)s)")
    add("--patience", type=float, default=8, metavar="S", help="seconds a contestant has for a filter (default: %(default)s)")
    add("--limit-base", type=int, metavar="N", help="trial: the first N vectors")
    add("--limit-queries", type=int, default=100, metavar="N", help="queries, spread over all (default: %(default)s)")
    add("--build-threads", type=int, default=2)
    add("--cache", default=HERE / "cache", metavar="DIR", help="indexes, shared with run.py")
    add("--out", default=HERE / "results", metavar="DIR")
    add("--timeout", type=int, default=7200, metavar="S", help="longest wait for one answer")
    add("--rebuild", action="store_true", help="build again what the cache holds")
    add("--bench", metavar="PROGRAM", help="benches/filters.rs, compiled (default: as cargo bench --no-run makes it)")
    options = parser.parse_args()
    options.threads = 1
    return options


def note(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


class Shortlist(contestants.Rival):
    """Our engine behind benches/filters.rs, which answers as the rivals' workers do."""

    def build_now(self):
        builder = contestants.Shortlist(contestants.bench_program("turns"), *self.given)
        builder.index = self.index
        return builder.build_now()

    def command(self, what, *extra):
        # A collection is published as a folder that holds its index file.
        file = next(self.index.glob("*.slx")) if self.index.is_dir() else self.index
        return [*self.program, str(file), str(self.dataset.query_file), "serve"]


def line_up(options, dataset, failures):
    wanted = set(options.only.split(",")) if options.only else None
    out, hnsw_rs = [], None
    if wanted is None or "shortlist" in wanted:
        given = ("shortlist", "Shortlist", {"mode": "resident"}, dataset, options, None)
        program = [options.bench or contestants.bench_program("filters")]
        ours = Shortlist(program, contestants.file_stamp(program[0]), *given)
        ours.given = given
        out.append(ours)
    for rival, label, params in GRID:
        if wanted is not None and rival not in wanted:
            continue
        if wanted is None and rival in ("qdrant", "zvec") and dataset.rows > SMALL:
            failures[label] = f"left out beyond {SMALL:,} vectors unless named in --only"
            continue
        try:
            if rival == "hnsw_rs":
                hnsw_rs = hnsw_rs or [str(contestants.build_hnsw_rs())]
                program, version = hnsw_rs, "0.3.5"
            else:
                program, version = contestants.worker_program(), metadata.version(rivals.PACKAGES[rival])
            out.append(contestants.Rival(program, version, rival, label, params, dataset, options, None))
        except (contestants.ContestantError, metadata.PackageNotFoundError, OSError) as error:
            failures[label] = f"skipped: {error}"
    return out


def ask(contestant, ef, stem, queries, k):
    """One turn: (record, ids)."""
    file = contestant.log.with_suffix(".ids")
    contestant.process.stdin.write(f"filter {ef} {file} {stem}\n")
    contestant.process.stdin.flush()
    record = contestant.answer()
    ids = np.fromfile(file, dtype="<i4").reshape(queries, k)
    os.unlink(file)
    return record, ids


def sweep(contestant, options, filters, made, truth, stem):
    """Points of rising ef, until the target is reached or patience is at its end."""
    points, began = [], time.monotonic()
    # Our default is one setting for all filters; rivals may search for theirs.
    for ef in EFS[1:2] if contestant.rival == "shortlist" else EFS:
        record, ids = ask(contestant, ef, stem, len(filters.queries), options.k)
        record["recall"] = filters.recall(made, truth, ids)
        points.append(record)
        spent = time.monotonic() - began
        if record["recall"] >= options.target or 2 * spent > options.patience:
            break
    return points


def run(name, options):
    dataset = datasets.prepare(name, options.data, options.cache, options.limit_base, options.limit_queries)
    failures = {}
    field = line_up(options, dataset, failures)
    for contestant in list(field):
        try:
            contestant.build(options.rebuild)
            contestant.start()
            note(f"{name}: {contestant} ready")
        except Exception as error:  # a contestant that fails is out, and the run goes on
            failures[contestant.label] = f"build or load: {error}"
            field.remove(contestant)
    filters = filtering.Filters(dataset)
    stem = Path(options.out) / f"filters-{dataset.tag}"
    rows = []
    for kind in options.kind or filtering.KINDS:
        for share in options.share or (SHARES if kind == "uniform" else SHARES[1:]):
            made = filters.make(kind, share)
            truth = filters.truth(made, options.k)
            made.write(stem)
            row = {"kind": kind, "share": share, "matching": float(made.masks.sum(axis=1).mean()), "points": {}}
            for contestant in field:
                if contestant.error:
                    continue
                try:
                    row["points"][contestant.label] = sweep(contestant, options, filters, made, truth, stem)
                except contestants.ContestantError as error:
                    if "no condition" not in str(error):
                        failures[contestant.label] = contestant.error = f"{made.name}: {error}"
            rows.append(row)
            note(f"{name}: {made.name}: " + ", ".join(f"{who} {cell(row, who, options.target)}" for who in row["points"]))
    for contestant in field:
        contestant.stop()
    for suffix in (".mask", ".json"):
        stem.with_suffix(suffix).unlink(missing_ok=True)
    return {"dataset": name, "rows": dataset.rows, "dimensions": dataset.dimensions, "queries": dataset.queries,
            "k": options.k, "target": options.target, "labels": [c.label for c in field], "filters": rows,
            "failures": failures, "load": os.getloadavg()[0]}, stem  # fmt: skip


def best(row, label, target):
    """The first point that reached the target, or the one of highest recall."""
    points = row["points"].get(label, [])
    reached = [point for point in points if point["recall"] >= target]
    return reached[0] if reached else max(points, key=lambda point: point["recall"], default=None)


def cell(row, label, target):
    point = best(row, label, target)
    if point is None:
        return "-"
    text = f"{point['qps']:,.0f}"
    return text if point["recall"] >= target else f"({text} at {point['recall']:.3f})"


def table(result):
    labels, target = result["labels"], result["target"]
    lines = [
        f"## {result['dataset']}: {result['rows']:,} x {result['dimensions']}, filtered, recall@{result['k']}",
        "",
        f"QPS of one thread at the least ef that reaches recall {target:g} over min({result['k']}, matching); in brackets the "
        f"best recall where none did. {result['queries']} queries, load average {result['load']:.1f} at the end.",
        "",
        "| filter | matching | " + " | ".join(labels) + " | our recall, plans |",
        "|" + "---|" * (len(labels) + 3),
    ]
    for row in result["filters"]:
        own = best(row, "Shortlist", target)
        ours = f"{own['recall']:.4f}, {own.get('plans', '')}" if own else "-"
        cells = [cell(row, label, target) for label in labels]
        head = f"{row['kind']} {100 * row['share']:g} %"
        lines.append(f"| {head} | {row['matching']:,.0f} | " + " | ".join(cells) + f" | {ours} |")
    if result["failures"]:
        lines += ["", "Not complete:", *(f"- {label}: {reason}" for label, reason in result["failures"].items())]
    return "\n".join(lines) + "\n"


def plot(result, stem):
    """QPS by selectivity, a panel a kind; hollow where the target was not reached."""
    from matplotlib import pyplot

    import report

    with pyplot.rc_context({"font.size": 11, "svg.fonttype": "path", "svg.hashsalt": "filters"}):
        figure, axes = pyplot.subplots(1, 3, figsize=(14, 5.2), sharey=True, layout="constrained")
        for panel, kind in zip(axes, filtering.KINDS):
            rows = [row for row in result["filters"] if row["kind"] == kind]
            if not rows:
                continue
            for number, label in enumerate(result["labels"]):
                points = [(100 * row["share"], best(row, label, result["target"])) for row in rows]
                points = [(share, point) for share, point in points if point]
                if not points:
                    continue
                rival = label.split()[0].lower()
                color = report.COLORS.get(rival, {"qdrant-edge": "#dc244c", "zvec": "#17a2b8"}.get(rival, "black"))
                panel.plot([s for s, _ in points], [p["qps"] for _, p in points], color=color, label=label,
                           linestyle=report.DASHES[number % 5], linewidth=2.6 if rival == "shortlist" else 1.5)  # fmt: skip
                for share, point in points:
                    good = point["recall"] >= result["target"]
                    panel.plot(share, point["qps"], marker="o", color=color, markerfacecolor=color if good else "white")
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.invert_xaxis()
            panel.set_title(kind)
            panel.set_xlabel("items that match, %")
            panel.grid(True, color="#dddddd", linewidth=0.8)
            panel.set_axisbelow(True)
        axes[0].set_ylabel(f"QPS at recall {result['target']:g} (hollow: less)")
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=10)
        figure.suptitle(f"{result['dataset']}: {result['rows']:,} x {result['dimensions']}", fontweight="bold")
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        pyplot.close(figure)


def main():
    options = parse_arguments()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    for name in options.dataset or datasets.NAMES:
        result, stem = run(name, options)
        stem.with_suffix(".results.json").write_text(json.dumps(result, indent=1))
        text = table(result)
        stem.with_suffix(".md").write_text(text)
        plot(result, stem)
        print("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
