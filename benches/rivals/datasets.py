"""The datasets: reading, cutting down for trials, exact ground truth.

Besides the two real ones any folder counts that holds `vectors.npy` (f16 or f32), `queries.npy`, `neighbors.npy` and `about.json` with
the metric, as synthetic.py writes them.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GROUND_TRUTH_DEPTH = 100
NAMES = ("debian-packages-384", "sift-photos-128")
DEFAULT_QUERIES = {"debian-packages-384": 2000}


@dataclass
class Dataset:
    """One dataset, perhaps cut down, as files that contestants read."""

    name: str
    metric: str  # "cosine", "dot" or "l2"
    element: str  # "f16" (or f32) in .npy, or "u8": the type of the original vectors
    base_file: Path  # original type, for Shortlist
    query_file: Path
    truth_file: Path
    base_f32: Path  # .npy, of unit length when the metric is cosine, for the rivals
    query_f32: Path
    rows: int
    queries: int
    dimensions: int
    neighbors: np.ndarray  # exact nearest ids of each query, nearest first

    @property
    def tag(self):
        return f"{self.name}-{self.rows}"


def read_bin(path, dtype):
    """big-ann layout: u32 rows, u32 columns, then the rows."""
    rows, columns = np.fromfile(path, dtype="<u4", count=2)
    return np.memmap(path, dtype=dtype, mode="r", offset=8, shape=(int(rows), int(columns)))


def write_bin(path, *arrays):
    with open(path, "wb") as file:
        np.array(arrays[0].shape, dtype="<u4").tofile(file)
        for array in arrays:
            np.ascontiguousarray(array).tofile(file)


def kind(name, data):
    """(metric, element) of a dataset."""
    if name == "sift-photos-128":
        return "l2", "u8"
    if name == "debian-packages-384":
        return "cosine", "f16"
    try:
        return json.loads((data / name / "about.json").read_text())["metric"], "f16"
    except FileNotFoundError:
        raise FileNotFoundError(f"dataset {name} not found under the --data folder {data}")


def read_original(name, data):
    """(base, queries, neighbors) as stored."""
    folder = data / name
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset {name} not found under the --data folder {data}")
    if name != "sift-photos-128":
        load = lambda file: np.load(folder / file, mmap_mode="r")
        return load("vectors.npy"), load("queries.npy"), load("neighbors.npy")
    neighbors = read_bin(folder / "gt100.2k.ibin", "<i4")
    return read_bin(folder / "base.1M.u8bin", "u1"), read_bin(folder / "query.u8bin", "u1"), neighbors


def as_f32(vectors, metric):
    out = np.array(vectors, dtype=np.float32)
    if metric == "cosine":
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        out /= np.where(norms > 0, norms, 1)
    return out


def scores(queries, base, metric):
    """Larger is nearer: the similarity, or minus the squared distance; computed in the queries' type."""
    base = base.astype(queries.dtype, copy=False)
    products = queries @ base.T
    if metric != "l2":
        return products
    return 2 * products - np.square(queries).sum(1)[:, None] - np.square(base).sum(1)[None, :]


def brute_force(queries, base, metric, depth, block=20_000):
    """Exact nearest `depth` ids and scores of each query, walking through the base in blocks."""
    best_ids = np.empty((len(queries), 0), dtype=np.int32)
    best = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(base), block):
        part = scores(queries, np.asarray(base[start : start + block]), metric)
        ids = np.argpartition(-part, min(depth, part.shape[1]) - 1, axis=1)[:, :depth]
        best = np.hstack([best, np.take_along_axis(part, ids, axis=1)])
        best_ids = np.hstack([best_ids, (ids + start).astype(np.int32)])
        order = np.argsort(-best, axis=1, kind="stable")[:, :depth]
        best = np.take_along_axis(best, order, axis=1)
        best_ids = np.take_along_axis(best_ids, order, axis=1)
    return best_ids, best


def spot_check(queries, base, neighbors, metric, sample=20):
    """A ground truth of another dataset must not go unnoticed."""
    pick = np.linspace(0, len(queries) - 1, min(sample, len(queries))).astype(int)
    depth, queries = neighbors.shape[1], queries[pick].astype(np.float64)
    _, expected = brute_force(queries, base, metric, depth)
    given = np.stack([scores(queries[[i]], base[neighbors[at]], metric)[0] for i, at in enumerate(pick)])
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
    if np.abs(np.sort(given) - np.sort(expected)).max() > tolerance:
        raise ValueError("the ground truth does not fit the vectors")


def prepare(name, data, cache, limit_base=None, limit_queries=None):
    """Write the files contestants read into `cache`, unless they are there, and return the Dataset."""
    data = Path(data)
    metric, element = kind(name, data)
    base, queries, neighbors = read_original(name, data)
    count = min(limit_queries or DEFAULT_QUERIES.get(name, 1000), len(neighbors))
    full = not limit_base or limit_base >= len(base)
    # Spread over all queries: they may lie in an order (Debian's do), and the first would speak for a part of it.
    chosen = np.linspace(0, len(neighbors) - 1, count).astype(int)
    base, queries = base[: None if full else limit_base], np.array(queries[chosen])
    folder = Path(cache) / f"{name}-{len(base)}" / f"queries-{count}"
    made = folder / "made.json"
    source = stamp(data / name)
    if not made.exists() or json.loads(made.read_text()) != source:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, element, metric, base, queries, np.array(neighbors[chosen]) if full else None)
        made.write_text(json.dumps(source))
    return Dataset(
        name, metric, element, *original_files(folder, element), folder / "base.f32.npy", folder / "queries.f32.npy",
        len(base), count, base.shape[1], np.load(folder / "exact.npy"),
    )  # fmt: skip


def stamp(folder):
    """Sizes and times of the files of a dataset: what is in the cache was made from these."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def write(folder, element, metric, base, queries, neighbors):
    base_f32, query_f32 = as_f32(base, metric), as_f32(queries, metric)
    if neighbors is None:
        neighbors, _ = brute_force(query_f32, base_f32, metric, min(GROUND_TRUTH_DEPTH, len(base)))
    else:
        spot_check(query_f32, base_f32, neighbors, metric)
    np.save(folder / "base.f32.npy", base_f32)
    np.save(folder / "queries.f32.npy", query_f32)
    np.save(folder / "exact.npy", neighbors)
    base_file, query_file, truth_file = original_files(folder, element)
    if element == "f16":
        for path, array in ((base_file, base), (query_file, queries), (truth_file, neighbors.astype("<i4"))):
            np.save(path, array)
        return
    gathered = [scores(query_f32[[i]], base_f32[row], metric)[0] for i, row in enumerate(neighbors)]
    write_bin(base_file, base)
    write_bin(query_file, queries)
    write_bin(truth_file, neighbors.astype("<i4"), -np.stack(gathered).astype(np.float32))


def original_files(folder, element):
    """Base, queries and ground truth in the dataset's own formats."""
    names = ("vectors.npy", "queries.npy", "neighbors.npy") if element == "f16" else ("base.u8bin", "query.u8bin", "gt.ibin")
    return [folder / name for name in names]


def folder_bytes(path):
    """Bytes of a file, or of all files in a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(os.path.getsize(f) for f in files)
