#!/usr/bin/env python3
"""Build times beside the rivals', in turns: `python3 benches/rivals/builds.py --data DIR --threads-each 1,2`.

Every contestant builds its index --repeats times with each number of threads, one after the other, the order moving on. The clock runs
from the vectors in memory to the index in memory; Shortlist's clock runs on until its file is written. Each run is added to
results/builds-<dataset>-<rows>.json at once, so a run may be spread over several starts (`--only`); the table is drawn from all that is there.
The ceiling of recall is that of run.py, where it has been found.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import field
import report

BESIDE = "hnswlib M=16"  # the one that everybody's time is divided by


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    field.add_options(parser)
    add = parser.add_argument
    add("--dataset", nargs="+", default=["debian-packages-384"], metavar="NAME", help="(default: debian-packages-384)")
    add("--threads-each", default="1,2", metavar="N,N", help="threads that build (default: %(default)s)")
    add("--repeats", type=int, default=3, help="builds of each (default: %(default)s)")
    add("--report-only", action="store_true", help="only draw the table again")
    options = parser.parse_args()
    if not options.data:
        parser.error("--data is missing: the folder of the datasets")
    return options


def run(name, options):
    dataset, judge = field.prepare(name, options)
    file = Path(options.out) / f"builds-{dataset.tag}.json"
    result = json.loads(file.read_text()) if file.exists() else {"dataset": name, "rows": dataset.rows, "builds": {}}
    result["machine"] = field.machine()
    ceilings, failures = {}, {}
    counts = [int(count) for count in options.threads_each.split(",")]
    for repeat in range(0 if options.report_only else options.repeats):
        for threads in counts:
            options.build_threads = threads
            everybody = field.line_up(options, dataset, judge, failures, modes=("resident",))
            shift = repeat % len(everybody)
            for contestant in everybody[shift:] + everybody[:shift]:
                kept = contestant.load_build()
                if kept:  # what is in the cache stays, with the recalls that belong to it
                    contestant.index = contestant.index.with_name("timed-" + contestant.index.name)
                field.attempt(contestant, failures, "build", contestant.build_anew)
                record = contestant.build_record
                if kept:
                    contestant.forget()
                if record:
                    result["builds"].setdefault(contestant.label, {}).setdefault(str(threads), []).append(record)
                    field.note(f"{contestant}, {threads} threads: {record['build_s']:.2f} s, processors {record['cpu_s']:.2f} s")
                    field.write_json(file, result)
    for contestant in field.line_up(options, dataset, judge, failures, modes=("resident",)):
        if contestant.load_build() and contestant.load_recalls():
            ceilings[contestant.label] = max(contestant.recalls.values())
    text = table(result, ceilings, failures)
    file.with_suffix(".md").write_text(text)
    print("\n" + text)


def table(result, ceilings, failures):
    counts = sorted({threads for builds in result["builds"].values() for threads in builds}, key=int)
    heads = [""]
    for count in counts:
        heads += [f"s, {count} thread{'s' if count != '1' else ''}", f"of {BESIDE}'s", "runs"]
    heads += ["processor s", "peak MB", "ceiling"]
    lines = [
        f"## Building {result['dataset']}, {result['rows']:,} vectors",
        "",
        f"{result['machine']['processor']}, {result['machine']['cores']} cores; medians.",
        "",
        *report.header(heads),
    ]
    lines += [build_row(label, result["builds"], counts, ceilings) for label in result["builds"]]
    lines += [f"\nNot complete: {label}: {reason}" for label, reason in failures.items()]
    return "\n".join(lines) + "\n"


def build_row(label, builds, counts, ceilings):
    median = lambda label, count, name: statistics.median(run[name] for run in builds[label][count])
    cells = []
    for count in counts:
        if count not in builds[label]:
            cells += ["-", "-", "-"]
            continue
        seconds = median(label, count, "build_s")
        other = median(BESIDE, count, "build_s") if count in builds.get(BESIDE, {}) else None
        cells += [f"{seconds:.1f}", f"{seconds / other:.2f}" if other else "-", str(len(builds[label][count]))]
    runs = [run for count in builds[label].values() for run in count]
    cells += [
        f"{statistics.median(run['cpu_s'] for run in runs):.1f}",
        f"{max(run['peak_bytes'] for run in runs) / 1e6:,.0f}",
        f"{ceilings[label]:.4f}" if label in ceilings else "-",
    ]
    return f"| {label} | " + " | ".join(cells) + " |"


def main():
    options = parse_arguments()
    for name in options.dataset:
        run(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
