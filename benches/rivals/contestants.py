"""What takes part: processes that answer line by line.

`build()` and `start()`, then `qps_at(ef)`, `recall_at(ef)` and `memory()`, and `stop()`. Any of them may raise
ContestantError, which ends that contestant and no other.
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
QUIET = 0.5  # of one processor, used by others during a measurement


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


def foreign_seconds(pid):
    """Processor time used on this machine by all others than the process."""
    tick = os.sysconf("SC_CLK_TCK")
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    busy = sum(fields) - fields[3] - fields[4]  # idle, and waiting for a disk
    own = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (busy - int(own[11]) - int(own[12])) / tick


class Contestant:
    def __init__(self, rival, label, params, dataset, options, judge):
        self.rival, self.label, self.params = rival, label, params
        self.dataset, self.options, self.judge = dataset, options, judge
        words = [rival, *(f"{name}-{value}" for name, value in params.items())]
        self.key = "_".join(words)
        self.index = Path(options.cache) / dataset.tag / f"{self.index_key()}_t{options.build_threads}"
        self.log = Path(options.out) / "logs" / f"{dataset.tag}-{self.key}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self.build_record, self.load_record, self.recalls, self.error = {}, {}, {}, None
        self.disturbed = []  # processors used by others during each measurement

    def index_key(self):
        return self.key

    def build(self, anew):
        """Build the index, or take it and the figures of its building from the cache."""
        if anew or not self.load_build():
            self.build_anew()

    def record_file(self):
        return self.index.parent / (self.index.name + ".build.json")

    def load_build(self):
        """Take the index from the cache; False when it is not there."""
        if not self.record_file().exists() or not self.index.exists():
            return False
        self.build_record = json.loads(self.record_file().read_text()) | {"cached": True}
        return True

    def build_anew(self):
        self.forget()
        self.build_record = self.build_now()
        self.build_record["index_bytes"] = folder_bytes(self.index)
        self.record_file().write_text(json.dumps(self.build_record))

    def forget(self):
        """Takes the index out of the cache."""
        remove(self.index)
        self.record_file().unlink(missing_ok=True)

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
        # A library's pool of threads that spin while they wait would take the processor from the one that searches.
        threads = self.options.threads if "serve" in command else self.options.build_threads
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment)
        self.answers = queue.Queue()
        threading.Thread(target=collect, args=(self.process.stdout, self.answers), daemon=True).start()

    def build_now(self):
        self.spawn(self.command("build", "--threads", self.options.build_threads))
        try:
            return self.answer()
        finally:
            self.stop()

    def start(self):
        extra = ("--queries", self.dataset.query_f32, "--k", self.options.k, "--threads", self.options.threads)
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

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def qps_at(self, ef, tries=1):
        """QPS; with more tries measured again when somebody else used the processors meanwhile."""
        best = None
        for _ in range(tries):
            began, others = time.perf_counter(), foreign_seconds(self.process.pid)
            qps = self.ask(f"search {ef} -")["qps"]
            share = (foreign_seconds(self.process.pid) - others) / (time.perf_counter() - began)
            if best is None or share < best[0]:
                best = share, qps
            if share <= QUIET:
                break
        self.disturbed.append(best[0])
        return best[1]

    def recall_at(self, ef):
        file = self.log.with_suffix(".ids")
        self.ask(f"search {ef} {file}")
        ids = np.fromfile(file, dtype="<i4").reshape(self.dataset.queries, self.options.k)
        os.unlink(file)
        return self.judge.recall(ids)

    def recalls_file(self):
        """Recall by ef of this index with these queries."""
        key = self.index_key() if self.rival == "shortlist" else f"{self.key}-{self.version}"  # mapped or not is all the same
        name = f"{key}_t{self.options.build_threads}_k{self.options.k}_q{self.dataset.queries}.recalls.json"
        return self.index.parent / name

    def load_recalls(self):
        try:
            kept = json.loads(self.recalls_file().read_text())
        except FileNotFoundError:
            return self.recalls
        if kept["index"] == self.index.stat().st_mtime_ns:
            self.recalls = {int(ef): value for ef, value in kept["recalls"].items()}
        return self.recalls

    def save_recalls(self, recalls):
        self.recalls = recalls
        self.recalls_file().write_text(json.dumps({"index": self.index.stat().st_mtime_ns, "recalls": recalls}))

    def memory(self):
        """Bytes that the process holds more than before it loaded the index."""
        return self.ask("memory")["resident_bytes"]

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


class Shortlist(Rival):
    """Our own engine behind benches/turns.rs, which answers as worker.py does."""

    def __init__(self, program, *rest):
        super().__init__([program], file_stamp(program), *rest)

    def index_key(self):
        return f"shortlist-{self.version}.slx"

    def command(self, what, *extra):
        command = super().command(what, *extra)
        # It takes the vectors in their original type.
        command[command.index("--vectors") + 1] = str(self.dataset.base_file)
        return command


def file_stamp(path):
    stat = Path(path).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def bench_program(name):
    """Path of the compiled benches/NAME.rs."""
    command = ["cargo", "bench", "--bench", name, "--no-run", "--message-format=json"]
    run = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True)
    for line in run.stdout.splitlines():
        record = json.loads(line)
        if record.get("executable") and record["target"]["name"] == name:
            return record["executable"]
    raise ContestantError(f"cargo bench --no-run failed: {run.stderr.strip()[-400:]}")


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
