"""One rival's index in a process of its own: `worker.py build ...` or `worker.py serve ...`.

Started by run.py. `build` makes and saves an index and prints one JSON line. `serve` loads it, prints
one JSON line, then answers each line `search EF IDS_FILE` (IDS_FILE may be `-`) with one JSON line, and
each line `filter EF IDS_FILE STEM` (STEM.mask and STEM.json, see filtering.py) with another; `memory` asks for what the process
holds more than before it loaded.
Whatever a library prints goes to stderr, so that it cannot mix with the answers.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import filtering
import rivals

WARM_UP = 200


def memory(field):
    """VmRSS or VmHWM of this process in bytes."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def release_memory():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def parse_params(text):
    def value(word):
        for kind in (int, float):
            try:
                return kind(word)
            except ValueError:
                pass
        return word

    pairs = (pair.partition("=") for pair in text.split(","))
    return {name: value(word) for name, _, word in pairs}


def build(rival, args, say):
    base = np.load(args.vectors)
    start, cpu = time.perf_counter(), time.process_time()
    rival.build(base, args.threads)
    seconds = time.perf_counter() - start
    used = time.process_time() - cpu
    peak = memory("VmHWM")
    Path(args.index).mkdir(parents=True, exist_ok=True)
    rival.save(Path(args.index))
    say({"build_s": seconds, "cpu_s": used, "peak_bytes": peak})


def load(rival, args):
    """Load the index; what it keeps in memory is what remains once the input is let go."""
    before = memory("VmRSS")
    base = np.load(args.vectors)
    start = time.perf_counter()
    rival.load(Path(args.index), base)
    seconds = time.perf_counter() - start
    del base
    release_memory()
    return seconds, before


def measure(rival, queries, k, ef, ids_file):
    rival.search(queries[-WARM_UP:], k, ef)  # what others left in the cache is no handicap
    start = time.perf_counter()
    ids = rival.search(queries, k, ef)
    seconds = time.perf_counter() - start
    if ids_file != "-":
        ids = np.asarray(ids).astype(np.int64)
        np.where((ids < 0) | (ids >= 2**31), -1, ids).astype("<i4").tofile(ids_file)
    return {"ef": ef, "qps": len(queries) / seconds}


def measure_filtered(rival, queries, k, ef, ids_file, stem):
    """One query after the other, each with its own filter, which is prepared beforehand."""
    masks, rows = filtering.read_masks(stem + ".mask")
    conditions = json.loads(Path(stem + ".json").read_text())
    prepared = rival.prepare_filters(masks, rows, conditions)
    answers = np.full((len(queries), k), -1, dtype="<i4")
    for at in range(min(len(queries), 10)):
        rival.search_filtered(queries[at], k, ef, prepared[at % len(prepared)])
    start = time.perf_counter()
    found = [rival.search_filtered(query, k, ef, prepared[at % len(prepared)]) for at, query in enumerate(queries)]
    seconds = time.perf_counter() - start
    for row, ids in zip(answers, found):
        ids = np.asarray(ids).astype(np.int64).ravel()[:k]
        row[: len(ids)] = np.where((ids < 0) | (ids >= 2**31), -1, ids)
    answers.tofile(ids_file)
    return {"ef": ef, "qps": len(queries) / seconds}


def serve(rival, args, say):
    queries = rival.prepare_queries(np.load(args.queries))
    # The import alone is no part of an index's memory.
    __import__({"symphonyqg": "rabitqlib", "usearch": "usearch.index", "qdrant": "qdrant_edge"}.get(args.rival, args.rival))
    seconds, before = load(rival, args)
    rival.search(queries[-WARM_UP:], args.k, args.k)
    release_memory()
    say({"load_s": seconds, "resident_bytes": max(0, memory("VmRSS") - before)})
    for line in sys.stdin:
        if line == "memory\n":
            release_memory()
            say({"resident_bytes": max(0, memory("VmRSS") - before)})
            continue
        what, ef, files = line.rstrip("\n").split(" ", 2)
        try:
            if what == "filter":
                say(measure_filtered(rival, queries, args.k, int(ef), *files.split(" ", 1)))
            else:
                say(measure(rival, queries, args.k, int(ef), files))
        except Exception as error:  # a library's refusal ends a point, not the run
            say({"error": f"{type(error).__name__}: {error}"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["build", "serve"])
    for name in ("rival", "params", "element", "metric", "vectors", "index", "queries"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--k", type=int)
    args = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(record):
        print(json.dumps(record), file=answers, flush=True)

    rival = rivals.CLASSES[args.rival](parse_params(args.params), args.metric, args.element)
    if args.command == "serve" and args.threads:
        rival.threads = args.threads
    {"build": build, "serve": serve}[args.command](rival, args, say)


if __name__ == "__main__":
    main()
