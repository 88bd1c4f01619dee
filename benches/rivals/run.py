#!/usr/bin/env python3
"""Shortlist beside its rivals: builds, searches and draws them all in one run.

First make an environment for the rivals' packages:

    python3 -m venv .venv && .venv/bin/pip install -r benches/rivals/requirements.txt
    cargo build --release
    .venv/bin/python benches/rivals/run.py --data DIR

DIR holds the folders debian-packages-384 and sift-photos-128. Results are written as JSON, a Markdown
table and a plot (SVG and PNG) for each dataset. README.md beside this file says what is measured, how
it is kept fair, and what is not.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent

EXAMPLES = """examples:
  a trial of a few minutes:  run.py --data DIR --limit-base 10000 --limit-queries 500 --repeats 2
  one dataset, all settings: run.py --data DIR --dataset sift-photos-128 --grid full
  some contestants only:     run.py --data DIR --only shortlist,symphonyqg,hnsw_rs
  top ten:                   run.py --data DIR --k 10
"""

EF_STEPS = {
    100: [100, 105, 110, 115, 120, 130, 140, 150, 160, 180, 200, 220, 240, 260, 280, 300, 350, 400, 450,
          500, 600, 700, 800, 1000, 1200],
    10: [10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 100, 120, 150, 200, 300, 400, 600, 800],
}  # fmt: skip
EF_BEYOND = {"symphonyqg": [1400, 1600]}
POINTS_A_TURN = 4


def parse_arguments():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder of the datasets (needed unless --report is given)")
    add("--dataset", nargs="+", metavar="NAME", help="which datasets, in turn (default: both)")
    add("--shortlist", default="target/release/shortlist", metavar="PATH",
        help="our program; left out with a word when missing (default: %(default)s)")
    add("--only", metavar="A,B", help="take part: shortlist, hnsw_rs, hnswlib, faiss, usearch, glass, symphonyqg")
    add("--grid", choices=["quick", "full"], default="quick", help="how many settings of each rival (default: quick)")
    add("--k", type=int, default=100, help="items a query, at most 100 (default: %(default)s)")
    add("--ef", metavar="N,N", help="the sweep of ef, in place of the built-in one")
    add("--repeats", type=int, default=5, help="measurements of each point; the median counts (default: %(default)s)")
    add("--build-threads", type=int, default=2, metavar="N", help="(default: %(default)s)")
    add("--limit-base", type=int, metavar="N", help="trial: the first N vectors; ground truth is computed again")
    add("--limit-queries", type=int, metavar="N", help="N queries, spread over all (default: 2000 debian, 1000 sift)")
    add("--cache", default=HERE / "cache", metavar="DIR", help="indexes are kept here (default: cache/ beside run.py)")
    add("--out", default=HERE / "results", metavar="DIR", help="(default: results/ beside run.py)")
    add("--rebuild", action="store_true", help="build again what the cache holds")
    add("--timeout", type=int, default=7200, metavar="S", help="longest wait for one answer (default: %(default)s)")
    add("--report", nargs="+", metavar="JSON", help="only draw table and plot again from these results")
    options = parser.parse_args()
    if not options.data and not options.report:
        parser.error("--data is missing: the folder that holds debian-packages-384 and sift-photos-128")
    if not 1 <= options.k <= 100:
        parser.error("--k must be between 1 and 100, the depth of the ground truth")
    for name in ("repeats", "build_threads", "limit_base", "limit_queries"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return options


def note(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def sweep(options, rival):
    if options.ef:
        return sorted({max(options.k, int(ef)) for ef in options.ef.split(",")})
    base = EF_STEPS[100] if options.k > 10 else EF_STEPS[10]
    return [ef for ef in base + EF_BEYOND.get(rival, []) if ef >= options.k]


def line_up(options, dataset, judge, failures):
    """The contestants, Shortlist first; what cannot take part goes to `failures`."""
    wanted = set(options.only.split(",")) if options.only else None
    rest = lambda rival, label, params: (
        rival, label, params, sweep(options, rival), dataset, options, judge)  # fmt: skip
    out = []
    program = shutil.which(options.shortlist)
    if wanted is None or "shortlist" in wanted:
        if program is None:
            failures["Shortlist"] = f"skipped: no program at {options.shortlist} (cargo build --release makes it)"
        for mode in ("mapped", "resident") if program else ():
            out.append(contestants.Shortlist(program, *rest("shortlist", f"Shortlist {mode}", {"mode": mode})))
    programs = {}
    for rival, label, params, quick in rivals.GRID:
        if (wanted is None or rival in wanted) and (quick or options.grid == "full"):
            try:
                if rival not in programs:
                    programs[rival] = find_program(rival)
                out.append(contestants.Rival(*programs[rival], *rest(rival, label, params)))
            except (contestants.ContestantError, metadata.PackageNotFoundError, OSError) as error:
                failures[label] = f"skipped: {type(error).__name__}: {error}"
    return out


def find_program(rival):
    """(command, version) of a rival."""
    if rival == "hnsw_rs":
        return [str(contestants.build_hnsw_rs())], "0.3.5"
    return contestants.worker_program(), metadata.version(rivals.PACKAGES[rival])


def attempt(contestant, failures, what, action, *arguments):
    """Run one step; a failure puts the contestant out, and the run goes on."""
    try:
        return action(*arguments)
    except Exception as error:
        failures[contestant.label] = f"{what}: {error}"
        contestant.error = failures[contestant.label]
        note(f"{contestant} is out. {what}: {error}")
        contestant.stop()
        return None


def build_all(field, failures):
    for contestant in field:
        attempt(contestant, failures, "build", contestant.build)
        record = contestant.build_record
        if record:
            word = "from the cache, built in" if record.get("cached") else "built in"
            note(f"{contestant}: {word} {record['build_s']:.1f} s, peak {record['peak_bytes'] / 1e6:.0f} MB")


def available_memory():
    with open("/proc/meminfo") as info:
        line = next(line for line in info if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def measure_all(field, options, dataset, failures):
    """Load as many as memory holds, measure them in turn, and go on with the rest."""
    points = {contestant.label: {} for contestant in field}
    waiting = [contestant for contestant in field if not contestant.error]
    group = 0
    while waiting:
        group += 1
        loaded = []
        while waiting and (not loaded or fits(waiting[0], dataset)):
            contestant = waiting.pop(0)
            attempt(contestant, failures, "load", contestant.start)
            if not contestant.error:
                contestant.load_record["group"] = group
                loaded.append(contestant)
                note(f"{contestant}: loaded, {contestant.load_record['resident_bytes'] / 1e6:.0f} MB")
        for repeat in range(options.repeats):
            note(f"group {group}, repeat {repeat + 1} of {options.repeats}, {len(loaded)} contestants")
            one_repeat(loaded, repeat, points, failures)
        for contestant in loaded:
            contestant.stop()
    return points


def fits(contestant, dataset):
    """Loading takes the index, and for a while the vectors (twice where they are converted)."""
    vectors = dataset.rows * dataset.dimensions * 4
    need = 1.5 * contestant.build_record["index_bytes"] + 2 * vectors + 2**30
    return need < available_memory()


def one_repeat(loaded, repeat, points, failures):
    """Everyone's first few points, then everyone's next few: noise hits all alike."""
    turns = -(-max((len(c.efs) for c in loaded), default=0) // POINTS_A_TURN)
    for turn in range(turns):
        shift = (repeat + turn) % len(loaded)
        for contestant in loaded[shift:] + loaded[:shift]:
            efs = contestant.efs[turn * POINTS_A_TURN : (turn + 1) * POINTS_A_TURN]
            if contestant.error or not efs:
                continue
            records = attempt(contestant, failures, f"ef {efs}", contestant.measure, efs, repeat == 0)
            for record in records or []:
                points[contestant.label].setdefault(record["ef"], []).append(record)


def summarize(contestant, records):
    """One point an ef: recall of the first repeat, median QPS, and the single figures."""
    out = []
    for ef in sorted(records):
        runs = records[ef]
        qps = [run["qps"] for run in runs]
        extra = {name: statistics.median(run[name] for run in runs)
                 for name in ("p50_us", "p95_us", "p99_us", "visited") if name in runs[0]}  # fmt: skip
        out.append({"ef": ef, "recall": runs[0]["recall"], "qps": statistics.median(qps), "qps_runs": qps} | extra)
    return {
        "label": contestant.label, "rival": contestant.rival, "params": contestant.params,
        "build": contestant.build_record, "load": contestant.load_record, "points": out,
        "recall_by": "the program itself" if contestant.rival == "shortlist" else "run.py",
        "error": contestant.error,
    }  # fmt: skip


def machine():
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


def versions():
    out = {"hnsw_rs": "0.3.5"}
    for package in rivals.PACKAGES.values():
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            out[package] = None
    return out


def run_dataset(name, options):
    note(f"{name}: preparing vectors and ground truth")
    dataset = datasets.prepare(name, options.data, options.cache, options.limit_base, options.limit_queries)
    if options.k > dataset.neighbors.shape[1]:
        raise ValueError(f"--k {options.k} is more than the {dataset.neighbors.shape[1]} items of the ground truth")
    judge = recall.Judge(dataset.base_f32, dataset.query_f32, dataset.neighbors, dataset.metric, options.k)
    failures, started = {}, time.strftime("%Y-%m-%d %H:%M")
    load_before = os.getloadavg()[0]
    field = line_up(options, dataset, judge, failures)
    for label, reason in failures.items():
        note(f"{label} {reason}")
    build_all(field, failures)
    points = measure_all(field, options, dataset, failures)
    result = {
        "dataset": name, "rows": dataset.rows, "dimensions": dataset.dimensions, "metric": dataset.metric,
        "queries": dataset.queries, "k": options.k, "repeats": options.repeats, "grid": options.grid,
        "build_threads": options.build_threads, "date": started, "load_average_before": load_before,
        "machine": machine(), "versions": versions(), "failures": failures,
        "contestants": [summarize(c, points[c.label]) for c in field],
    }  # fmt: skip
    stem = Path(options.out) / f"{dataset.tag}-k{options.k}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1))
    return result, stem


def main():
    options = parse_arguments()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    if options.report:
        for path in map(Path, options.report):
            report.write(json.loads(path.read_text()), path.with_suffix(""))
        return 0
    unknown = [name for name in options.dataset or [] if name not in datasets.NAMES]
    if unknown:
        sys.exit(f"run.py: unknown dataset {', '.join(unknown)}; there are {', '.join(datasets.NAMES)}")
    bad = 0
    for name in options.dataset or datasets.NAMES:
        try:
            result, stem = run_dataset(name, options)
        except (OSError, ValueError) as error:
            note(f"{name} failed: {error}")
            bad += 1
            continue
        print("\n" + report.write(result, stem))
        note(f"written: {stem}.json, .md, .svg, .png")
    return 1 if bad else 0


if __name__ == "__main__":
    if "-h" not in sys.argv and "--help" not in sys.argv:
        try:
            import contestants
            import datasets
            import recall
            import report
            import rivals
        except ModuleNotFoundError as missing:
            sys.exit(f"run.py: {missing}. Install the packages first: pip install -r benches/rivals/requirements.txt")
    sys.exit(main())
