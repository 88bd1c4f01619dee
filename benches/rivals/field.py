"""The field: who takes part, and how everybody is built, tuned and measured in turns.

What does not depend on the machine's rest is done first and kept in the cache: indexes, and the recall of each contestant by
ef (`tune`), from which follow the points that are worth timing. Timing (`rounds`, then `duels`) takes a few minutes.
"""

import json
import math
import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import contestants
import datasets
import recall
import rivals

HERE = Path(__file__).resolve().parent
TARGETS = (0.90, 0.95, 0.99, 0.999)
LEVELS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)  # timed and drawn; the targets are among them
EF = (4, 7, 10, 14, 20, 28, 40, 56, 80, 100, 120, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
PROBES = 5  # for the least ef that reaches a target, between two of the above
ALSO_RAN = 0.6  # of the best rival's QPS at every target: one round is enough
TRIES = 3  # of a disturbed measurement of a duel
NEAR = 0.9  # of the best rival's QPS: duels with this one too


def note(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def add_options(parser):
    """Options that run.py, builds.py and growth.py share."""
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder of the datasets")
    add("--bench", metavar="PROGRAM", help="benches/turns.rs, compiled (default: as cargo bench --no-run makes it)")
    add("--only", metavar="A,B", help="take part: rivals (shortlist, hnsw_rs, hnswlib, faiss, usearch, glass, symphonyqg) or labels")
    add("--grid", choices=["quick", "full"], default="quick", help="how many settings of each rival (default: quick)")
    add("--k", type=int, default=100, help="items a query, at most 100 (default: %(default)s)")
    add("--threads", type=int, default=1, metavar="N", help="that search (default: %(default)s)")
    add("--build-threads", type=int, default=2, metavar="N", help="(default: %(default)s)")
    add("--limit-base", type=int, metavar="N", help="trial: the first N vectors; ground truth is computed again")
    add("--limit-queries", type=int, metavar="N", help="N queries, spread over all (default: 2000 debian, 1000 others)")
    add("--cache", default=HERE / "cache", metavar="DIR", help="indexes are kept here (default: cache/ beside run.py)")
    add("--out", default=HERE / "results", metavar="DIR", help="(default: results/ beside run.py)")
    add("--rebuild", action="store_true", help="build again what the cache holds")
    add("--timeout", type=int, default=7200, metavar="S", help="longest wait for one answer (default: %(default)s)")


def prepare(name, options):
    """(dataset, judge of recall)."""
    dataset = datasets.prepare(name, options.data, options.cache, options.limit_base, options.limit_queries)
    if options.k > dataset.neighbors.shape[1]:
        raise ValueError(f"--k {options.k} is more than the {dataset.neighbors.shape[1]} items of the ground truth")
    return dataset, recall.Judge(dataset.base_f32, dataset.query_f32, dataset.neighbors, dataset.metric, options.k)


def line_up(options, dataset, judge, failures, modes=("resident", "mapped")):
    """The contestants, Shortlist first; what cannot take part goes to `failures`."""
    wanted = set(options.only.split(",")) if options.only else None
    takes_part = lambda rival, label: wanted is None or rival in wanted or label in wanted
    out, programs = [], {}
    for mode in modes:
        label = f"Shortlist {mode}"
        if takes_part("shortlist", label):
            options.bench = options.bench or contestants.bench_program("turns")
            out.append(contestants.Shortlist(options.bench, "shortlist", label, {"mode": mode}, dataset, options, judge))
    for rival, label, params, quick in rivals.GRID:
        named = wanted is not None and label in wanted
        if not named and not (takes_part(rival, label) and (quick or options.grid == "full")):
            continue
        try:
            if rival not in programs:
                programs[rival] = find_program(rival)
            out.append(contestants.Rival(*programs[rival], rival, label, params, dataset, options, judge))
        except (contestants.ContestantError, metadata.PackageNotFoundError, OSError) as error:
            failures[label] = f"skipped: {type(error).__name__}: {error}"
            note(f"{label} {failures[label]}")
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
    done = set()
    for contestant in field:
        # Two that differ in their search only share an index.
        anew = contestant.options.rebuild and contestant.index not in done
        done.add(contestant.index)
        attempt(contestant, failures, "build", contestant.build, anew)
        record = contestant.build_record
        if record:
            word = "from the cache, built in" if record.get("cached") else "built in"
            note(f"{contestant}: {word} {record['build_s']:.1f} s, peak {record['peak_bytes'] / 1e6:.0f} MB")


def tune_all(field, failures):
    """Recall by ef of each, from the cache where it is known; one index is loaded at a time."""
    for contestant in field:
        if not contestant.error:
            attempt(contestant, failures, "tune", tune, contestant)
            contestant.stop()
            ceiling = max(contestant.recalls.values(), default=0)
            note(f"{contestant}: {len(contestant.recalls)} points, ceiling {ceiling:.4f}")


def tune(contestant):
    """Fills `contestant.recalls`: along EF, and close to the least ef that reaches each target."""
    known = contestant.load_recalls()

    def probe(ef):
        if ef not in known:
            if contestant.process is None:
                contestant.start()
            known[ef] = contestant.recall_at(ef)
            contestant.save_recalls(known)
        return known[ef]

    # Those that widen a smaller ef to k give the same answers below k.
    floor = rivals.SMALLEST_EF.get(contestant.rival, contestant.options.k)
    for ef in [ef for ef in EF if ef >= floor]:
        if probe(ef) >= max(TARGETS):
            break
    for target in TARGETS:
        for _ in range(PROBES):
            high = least_ef(known, target)
            low = max((ef for ef, value in known.items() if value < target and high and ef < high), default=None)
            if low is None or high - low <= max(1, high // 100):
                break
            probe(between(low, high, known, target))


def between(low, high, known, target):
    """Where the logarithm of the misses, as a line of ef's logarithm, would meet the target."""
    miss = lambda recall: max(1 - recall, 1e-9)
    share = math.log(miss(known[low]) / miss(target)) / math.log(miss(known[low]) / miss(known[high]))
    guess = round(low * (high / low) ** min(max(share, 0.1), 0.9))
    return min(max(guess, low + 1), high - 1)




def least_ef(recalls, level):
    return min((ef for ef, value in recalls.items() if value >= level), default=None)


def load_all(field, dataset, failures):
    """Load as many as memory holds; those left out are named."""
    for contestant in field:
        if contestant.error:
            continue
        vectors = dataset.rows * dataset.dimensions * 4
        need = 1.5 * contestant.build_record["index_bytes"] + 2 * vectors + 2**30
        if need > available_memory():
            failures[contestant.label] = contestant.error = f"not loaded: memory for {need / 1e9:.1f} GB is missing"
            continue
        attempt(contestant, failures, "load", contestant.start)
    return [contestant for contestant in field if not contestant.error]


def available_memory():
    with open("/proc/meminfo") as info:
        line = next(line for line in info if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def rounds(field, count, failures, timed):
    """Everyone's point at one level, then everyone's at the next; fills `timed`: {label: {ef: [QPS]}}."""
    timed |= {contestant.label: {} for contestant in field}
    for number in range(count):
        running = [c for c in field if not c.error and (number == 0 or not also_ran(c, field, timed))]
        note(f"round {number + 1} of {count}, {len(running)} contestants")
        for turn, level in enumerate(LEVELS):
            shift = (number + turn) % len(running)
            for contestant in running[shift:] + running[:shift]:
                ef = least_ef(contestant.recalls, level)
                runs = timed[contestant.label].setdefault(ef, [])
                if ef and len(runs) <= number and not contestant.error:
                    qps = attempt(contestant, failures, f"ef {ef}", contestant.qps_at, ef)
                    runs.extend([qps] if qps else [])
        yield


def qps_at(contestant, timed, target):
    """Median QPS at the least ef that reaches the target, or None."""
    runs = timed[contestant.label].get(least_ef(contestant.recalls, target))
    return statistics.median(runs) if runs else None


def also_ran(contestant, field, timed):
    """Is it far from the best rival at every target?"""
    if contestant.rival == "shortlist":
        return False
    others = [c for c in field if c.rival != "shortlist"]
    for target in TARGETS:
        best = max((qps_at(c, timed, target) or 0 for c in others), default=0)
        if (qps_at(contestant, timed, target) or 0) >= ALSO_RAN * best > 0:
            return False
    return True


def duels(field, timed, pairs, failures, out):
    """At each target Shortlist and the best rival (or two, where they are near each other), one after the other; fills `out`."""
    ours = next((c for c in field if c.rival == "shortlist" and not c.error), None)
    for target in TARGETS if ours else ():
        at = {c.label: qps_at(c, timed, target) for c in field if c.rival != "shortlist" and not c.error}
        best = max((qps for qps in at.values() if qps), default=None)
        mine = least_ef(ours.recalls, target)
        if best is None or mine is None:
            out.append({"target": target, "rival": None, "reached": mine is not None})
            continue
        near = sorted((c for c in field if (at.get(c.label) or 0) >= NEAR * best), key=lambda c: -at[c.label])
        for rival in near[:2]:
            theirs = least_ef(rival.recalls, target)
            note(f"duel at {target}: {ours} ef {mine}, {rival} ef {theirs}")
            runs = [attempt(rival, failures, "duel", pair, ours, mine, rival, theirs, turn) for turn in range(pairs)]
            runs = [run for run in runs if run]
            out.append({
                "target": target, "rival": rival.label, "reached": True, "ef": [mine, theirs],
                "recall": [ours.recalls[mine], rival.recalls[theirs]], "pairs": runs,
            })  # fmt: skip
            yield


def pair(ours, mine, rival, theirs, turn):
    """(our QPS, the rival's): who is first changes."""
    if turn % 2 == 0:
        return ours.qps_at(mine, TRIES), rival.qps_at(theirs, TRIES)
    second = rival.qps_at(theirs, TRIES)
    return ours.qps_at(mine, TRIES), second


def measure(field, dataset, options, failures, save):
    """Times all that are built and tuned; `save` is given points by label, duels, memory by label, as often as there are more."""
    loaded = load_all(field, dataset, failures)
    timed, fought, memory = {}, [], {}
    for _ in rounds(loaded, options.rounds, failures, timed) if loaded else ():
        save(timed, fought, memory)
    for _ in duels(loaded, timed, options.pairs, failures, fought):
        save(timed, fought, memory)
    for contestant in loaded:
        if not contestant.error:
            memory[contestant.label] = attempt(contestant, failures, "memory", contestant.memory)
        contestant.stop()
    return save(timed, fought, memory)


def summarize(contestant, timed, memory):
    points = []
    for ef, runs in sorted((ef, runs) for ef, runs in timed.get(contestant.label, {}).items() if ef and runs):
        points.append({"ef": ef, "recall": contestant.recalls[ef], "qps": statistics.median(runs), "qps_runs": runs})
    load = contestant.load_record | {"resident_bytes": memory.get(contestant.label)}
    return {
        "label": contestant.label, "rival": contestant.rival, "params": contestant.params, "build": contestant.build_record,
        "load": load, "points": points, "ceiling": max(contestant.recalls.values(), default=None),
        "recalls": sorted(contestant.recalls.items()), "disturbed": contestant.disturbed, "error": contestant.error,
    }  # fmt: skip


def machine():
    model, flags = "unknown processor", []
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
        if line.startswith("flags"):
            flags = line.split()
    vector = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return {"processor": f"{model} ({vector})", "cores": os.cpu_count(), "python": platform.python_version()}


def versions():
    out = {"hnsw_rs": "0.3.5"}
    for package in rivals.PACKAGES.values():
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            out[package] = None
    return out


def write_json(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(value, indent=1))
