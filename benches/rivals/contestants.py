"""What takes part: rivals as processes that answer line by line, and Shortlist as a command.

Both have `build()`, `start()`, `measure(efs)` and `stop()`. `measure` returns one record an ef, with
"ef", "recall" (None after the first repeat: search on one thread gives the same answer again) and
"qps", or raises ContestantError, which ends that contestant and no other.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from datasets import folder_bytes

HERE = Path(__file__).resolve().parent


class ContestantError(Exception):
    pass


def last_lines(path, count=3):
    lines = Path(path).read_text(errors="replace").split("\n") if Path(path).exists() else []
    return " | ".join([line.strip() for line in lines if line.strip()][-count:])


def collect(stream, answers):
    """Put each JSON line into the queue, and None at the end; hnsw_rs prints other lines in between."""
    for line in stream:
        if line.startswith("{"):
            answers.put(line)
    answers.put(None)


class PeakMemory(threading.Thread):
    """Follows the highest resident memory of a process that is not ours to instrument."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.02):
            try:
                status = Path(f"/proc/{self.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)


class Contestant:
    def __init__(self, rival, label, params, efs, dataset, options, judge):
        self.rival, self.label, self.params, self.efs = rival, label, params, efs
        self.dataset, self.options, self.judge = dataset, options, judge
        words = [rival, *(f"{name}-{value}" for name, value in params.items())]
        self.key = "_".join(words)
        self.index = Path(options.cache) / dataset.tag / f"{self.index_key()}_t{options.build_threads}"
        self.log = Path(options.out) / "logs" / f"{dataset.tag}-{self.key}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self.build_record, self.load_record, self.error = {}, {}, None

    def index_key(self):
        return self.key

    def build(self):
        """Build the index, or take it and the figures of its building from the cache."""
        record = self.index.parent / (self.index.name + ".build.json")
        if record.exists() and self.index.exists() and not self.options.rebuild:
            self.build_record = json.loads(record.read_text()) | {"cached": True}
            return
        remove(self.index)
        record.unlink(missing_ok=True)
        self.build_record = self.build_now()
        self.build_record["index_bytes"] = folder_bytes(self.index)
        record.write_text(json.dumps(self.build_record))

    def __str__(self):
        return self.label


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


class Rival(Contestant):
    """A rival behind worker.py or behind the hnsw_rs program: same flags, same answers."""

    process = None

    def __init__(self, program, version, *rest):
        self.program, self.version = program, version
        super().__init__(*rest)

    def index_key(self):
        params = {name: value for name, value in self.params.items() if name not in self.search_only()}
        return "_".join([f"{self.rival}-{self.version}", *(f"{n}-{v}" for n, v in params.items())])

    def search_only(self):
        """Parameters that matter after the build only: such contestants share an index."""
        return ("search", "refine") if self.rival == "glass" else ()

    def command(self, what, *extra):
        params = ",".join(f"{name}={value}" for name, value in self.params.items())
        dataset = self.dataset
        return [
            *self.program, what, "--rival", self.rival, "--params", params,
            "--element", dataset.element, "--metric", dataset.metric,
            "--vectors", str(dataset.base_f32), "--index", str(self.index), *map(str, extra),
        ]  # fmt: skip

    def spawn(self, command):
        log = open(self.log, "a")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
        self.answers = queue.Queue()
        threading.Thread(target=collect, args=(self.process.stdout, self.answers), daemon=True).start()

    def build_now(self):
        self.spawn(self.command("build", "--threads", self.options.build_threads))
        try:
            return self.answer()
        finally:
            self.stop()

    def start(self):
        extra = ("--queries", self.dataset.query_f32, "--k", self.options.k)
        self.spawn(self.command("serve", *extra))
        self.load_record = self.answer()

    def answer(self):
        try:
            line = self.answers.get(timeout=self.options.timeout)
        except queue.Empty:
            raise ContestantError(f"no answer within {self.options.timeout} s")
        if line is None:
            code = self.process.wait()
            raise ContestantError(f"ended with code {code}: {last_lines(self.log)}")
        record = json.loads(line)
        if "error" in record:
            raise ContestantError(record["error"])
        return record

    def measure(self, efs, judged):
        return [self.measure_one(ef, judged) for ef in efs]

    def measure_one(self, ef, judged):
        file = self.log.with_suffix(".ids") if judged else "-"
        self.process.stdin.write(f"search {ef} {file}\n")
        self.process.stdin.flush()
        record = self.answer() | {"recall": None}
        if judged:
            ids = np.fromfile(file, dtype="<i4").reshape(self.dataset.queries, self.options.k)
            record["recall"] = self.judge.recall(ids)
            os.unlink(file)
        return record

    def stop(self):
        if self.process is None:
            return
        try:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process = None


class Shortlist(Contestant):
    """Our own program, one command a turn. Recall is the program's own word."""

    def __init__(self, program, *rest):
        self.program = Path(program)
        super().__init__(*rest)

    def index_key(self):
        stat = self.program.stat()
        return f"shortlist-{stat.st_size}-{stat.st_mtime_ns}.slx"

    def call(self, *words):
        """Run to the end: (seconds, peak memory)."""
        command = [str(self.program), *map(str, words)]
        with open(self.log, "a") as log:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=log, stderr=log)
            memory = PeakMemory(process.pid)
            try:
                code = process.wait(timeout=self.options.timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise ContestantError(f"no end within {self.options.timeout} s: {' '.join(command)}")
            seconds = time.perf_counter() - start
            memory.done.set()
            memory.join()
        if code != 0:
            raise ContestantError(f"{' '.join(command[:2])} ended with code {code}: {last_lines(self.log)}")
        return seconds, memory.peak

    def build_now(self):
        seconds, peak = self.call(
            "build", "--vectors", self.dataset.base_file, "--metric", self.dataset.metric,
            "--out", self.index, "--threads", self.options.build_threads,
        )  # fmt: skip
        return {"build_s": seconds, "peak_bytes": peak}

    def start(self):
        """Nothing stays loaded; a small call shows whether it works, and its memory."""
        self.bench(self.efs[:1])

    def measure(self, efs, judged):
        # The first ef is asked for twice, and the later figure is kept: the first call warms.
        by_ef = {row["ef"]: row for row in self.bench([efs[0], *efs])}
        missing = [ef for ef in efs if ef not in by_ef]
        if missing:
            raise ContestantError(f"no figures for ef {missing}")
        return [by_ef[ef] for ef in efs]

    def bench(self, efs):
        out = self.log.with_suffix(".json")
        _, peak = self.call(
            "bench", self.index, "--queries", self.dataset.query_file,
            "--ground-truth", self.dataset.truth_file, "--k", self.options.k,
            "--ef", ",".join(map(str, efs)), "--threads", 1,
            "--mode", self.params["mode"], "--json", out,
        )  # fmt: skip
        previous = self.load_record.get("resident_bytes", 0)
        self.load_record = {"resident_bytes": max(previous, peak), "whole_process": True}
        try:
            return json.loads(out.read_text())
        except (OSError, ValueError) as error:
            raise ContestantError(f"no JSON from bench: {error}")

    def stop(self):
        pass


def build_hnsw_rs():
    """Compile the hnsw_rs program where needed and return its path."""
    folder = HERE / "hnsw_rs"
    run = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--quiet"], cwd=folder, capture_output=True, text=True
    )
    if run.returncode != 0:
        raise ContestantError(f"cargo build failed: {run.stderr.strip()[-400:]}")
    target = Path(os.environ.get("CARGO_TARGET_DIR", folder / "target"))
    return (folder / target) / "release" / "rival-hnsw-rs"


def worker_program():
    return [sys.executable, str(HERE / "worker.py")]
