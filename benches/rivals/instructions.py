#!/usr/bin/env python3
"""Instructions and simulated cache misses of a query: `python3 benches/rivals/instructions.py --data DIR`.

Where the processor has no counters that can be read, valgrind's cachegrind counts. Shortlist searches twice, with --queries and with twice as
many; the difference is the queries alone, without opening and reading. Misses are simulated for the first level and for a last level of
each --last-level in turn (2 MiB: what the nearest two levels hold; 32 MiB: a shared third level); nothing is fetched ahead in the
simulation, so its misses are lines that are not there, not times that somebody waits. Valgrind knows no AVX-512: the kernels are those for AVX2.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import contestants
import field
import report

FIRST_LEVEL = "49152,12,64"
SHOWN = 12


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    field.add_options(parser)
    add = parser.add_argument
    add("--dataset", default="debian-packages-384", metavar="NAME", help="(default: debian-packages-384)")
    add("--ef", type=int, default=100, help="(default: %(default)s)")
    add("--queries", type=int, default=400, help="in the shorter of the two runs (default: %(default)s)")
    add("--last-level", default="2,32", metavar="MIB,MIB", help="sizes of the last level (default: %(default)s)")
    options = parser.parse_args()
    options.only = "Shortlist resident"
    if not options.data:
        parser.error("--data is missing: the folder of the datasets")
    return options


def count(contestant, queries, options, last_level):
    """(events, {function: counts}) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "queries.npy", Path(folder) / "counts"
        np.save(file, queries)
        command = [
            "valgrind", "--tool=cachegrind", "--cache-sim=yes", f"--D1={FIRST_LEVEL}", f"--LL={last_level << 20},16,64",
            f"--cachegrind-out-file={out}", *contestant.command("serve"), "--queries", str(file), "--k", str(options.k),
            "--threads", "1",
        ]  # fmt: skip
        run = subprocess.run(command, input=f"search {options.ef} -\n", capture_output=True, text=True)
        if run.returncode != 0:
            raise contestants.ContestantError(f"valgrind ended with code {run.returncode}: {run.stderr.strip()[-400:]}")
        return parse(out.read_text())


def parse(text):
    """Counts of cachegrind's file by function."""
    events, functions, current = [], {}, None
    for line in text.splitlines():
        if line.startswith("events:"):
            events = line.split()[1:]
        elif line.startswith("fn="):
            current = functions.setdefault(line[3:], Counter())
        elif line[:1].isdigit():
            current.update(dict(zip(events, map(int, line.split()[1:]))))
    return functions


def less(longer, shorter, queries):
    """Counts a query, by function."""
    out = {}
    for name, counts in longer.items():
        own = Counter(counts)
        own.subtract(shorter.get(name, Counter()))
        out[name] = {event: value / queries for event, value in own.items()}
    return out


def figures(counts):
    """(instructions, reads and writes, misses of the first level, of the last) of a function."""
    get = lambda *events: sum(counts.get(event, 0) for event in events)
    return get("Ir"), get("Dr", "Dw"), get("D1mr", "D1mw"), get("DLmr", "DLmw")


def table(result, options, dataset):
    sizes = list(result)
    total = {size: [sum(column) for column in zip(*map(figures, functions.values()))] for size, functions in result.items()}
    first = result[sizes[0]]
    lines = [
        f"## Instructions of a query: {dataset.name}, {dataset.rows:,} vectors, ef {options.ef}, k {options.k}",
        "",
        f"Simulated by cachegrind (AVX2 kernels), mean of {options.queries} queries. First level {FIRST_LEVEL.split(',')[0]} bytes.",
        "",
        *report.header(["", "instructions", "reads and writes", "misses of the first level", *(f"misses of {s} MiB" for s in sizes)]),
    ]
    names = sorted(first, key=lambda name: -figures(first[name])[0])
    row = lambda title, at: (
        f"| {title} | " + " | ".join(f"{round(value):,}" for value in [*at(sizes[0])[:3], *(at(size)[3] for size in sizes)]) + " |"
    )
    lines.append(row("all", lambda size: total[size]))
    for name in names[:SHOWN]:
        lines.append(row(f"`{short(name)}`", lambda size: figures(result[size].get(name, {}))))
    return "\n".join(lines) + "\n"


def short(name):
    """A function's name without the generic parts of its path."""
    return name.replace("|", "/")[-90:]


def main():
    options = parse_arguments()
    dataset, judge = field.prepare(options.dataset, options)
    failures = {}
    everybody = field.line_up(options, dataset, judge, failures)
    field.build_all(everybody, failures)
    if failures:
        sys.exit(f"instructions.py: {failures}")
    all_queries = np.load(dataset.query_f32)
    if len(all_queries) < 2 * options.queries:
        sys.exit(f"instructions.py: --queries may be at most {len(all_queries) // 2}, half of the set's")
    result = {}
    for last_level in map(int, options.last_level.split(",")):
        shorter, longer = (count(everybody[0], all_queries[:n], options, last_level) for n in (options.queries, 2 * options.queries))
        result[last_level] = less(longer, shorter, options.queries)
    text = table(result, options, dataset)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    (Path(options.out) / f"instructions-{dataset.tag}-ef{options.ef}.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
