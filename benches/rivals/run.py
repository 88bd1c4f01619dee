#!/usr/bin/env python3
"""Shortlist beside its rivals: builds, searches and draws them all in one run.

First make an environment for the rivals' packages:

    python3 -m venv .venv && .venv/bin/pip install -r benches/rivals/requirements.txt
    .venv/bin/python benches/rivals/run.py --data DIR

DIR holds the folders debian-packages-384 and sift-photos-128, or those that synthetic.py made. Results are written as JSON,
Markdown tables and a plot (SVG and PNG) for each dataset. README.md beside this file says what is measured, how it is kept fair,
and what is not.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

EXAMPLES = """examples:
  a trial of a few minutes:  run.py --data DIR --limit-base 10000 --limit-queries 500
  one dataset, all settings: run.py --data DIR --dataset sift-photos-128 --grid full
  some contestants only:     run.py --data DIR --only "shortlist,symphonyqg,hnswlib M=16"
  top ten, two threads:      run.py --data DIR --k 10 --threads 2
  on a machine that is quiet for minutes only: run.py --data DIR --stage prepare, then run.py --data DIR --stage measure
"""


def parse_arguments():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    field.add_options(parser)
    add = parser.add_argument
    add("--dataset", nargs="+", metavar="NAME", help="which datasets, in turn (default: the two real ones)")
    add("--stage", choices=["all", "prepare", "measure"], default="all",
        help="prepare: build, and find recall by ef; measure: time what is prepared (default: all)")  # fmt: skip
    add("--rounds", type=int, default=3, help="rounds of everybody; medians are drawn (default: %(default)s)")
    add("--pairs", type=int, default=9, help="duels with the best rival at each recall (default: %(default)s)")
    add("--report", nargs="+", metavar="JSON", help="only draw tables and plot again from these results")
    options = parser.parse_args()
    if not options.data and not options.report:
        parser.error("--data is missing: the folder of the datasets")
    if not 1 <= options.k <= 100:
        parser.error("--k must be between 1 and 100, the depth of the ground truth")
    for name in ("rounds", "pairs", "threads", "build_threads", "limit_base", "limit_queries"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return options


def run_dataset(name, options):
    field.note(f"{name}: preparing vectors and ground truth")
    dataset, judge = field.prepare(name, options)
    failures, started, load_before = {}, time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()[0]
    everybody = field.line_up(options, dataset, judge, failures)
    if options.stage == "measure":
        everybody = [c for c in everybody if field.attempt(c, failures, "measure", prepared, c)]
    else:
        field.build_all(everybody, failures)
        field.tune_all(everybody, failures)
    if options.stage == "prepare":
        return None, None
    stem = Path(options.out) / f"{dataset.tag}-k{options.k}-t{options.threads}"

    def save(timed, duels, memory):
        result = {
            "dataset": name, "rows": dataset.rows, "dimensions": dataset.dimensions, "metric": dataset.metric,
            "queries": dataset.queries, "k": options.k, "threads": options.threads, "rounds": options.rounds, "grid": options.grid,
            "build_threads": options.build_threads, "date": started, "load_average_before": load_before,
            "machine": field.machine(), "versions": field.versions(), "failures": failures, "duels": duels,
            "contestants": [field.summarize(c, timed, memory) for c in everybody],
        }  # fmt: skip
        field.write_json(stem.with_suffix(".json"), result)
        return result

    return field.measure(everybody, dataset, options, failures, save), stem


def prepared(contestant):
    """Takes index and recalls from the cache; nothing is built."""
    if not contestant.load_build() or not contestant.load_recalls():
        raise ValueError("not prepared (--stage prepare does it)")
    return True


def main():
    options = parse_arguments()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    if options.report:
        for path in map(Path, options.report):
            report.write(json.loads(path.read_text()), path.with_suffix(""))
        return 0
    bad = 0
    for name in options.dataset or datasets.NAMES:
        try:
            result, stem = run_dataset(name, options)
        except (OSError, ValueError) as error:
            field.note(f"{name} failed: {error}")
            bad += 1
            continue
        if result:
            print("\n" + report.write(result, stem))
            field.note(f"written: {stem}.json, .md, .svg, .png")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        import datasets
        import field
        import report
    except ModuleNotFoundError as missing:
        sys.exit(f"run.py: {missing}. Install the packages first: pip install -r benches/rivals/requirements.txt")
    sys.exit(main())
