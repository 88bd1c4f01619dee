"""The two datasets: reading, cutting down for trials, exact ground truth."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GROUND_TRUTH_DEPTH = 100
NAMES = ("debian-packages-384", "sift-photos-128")
DEFAULT_QUERIES = {"debian-packages-384": 2000, "sift-photos-128": 1000}


@dataclass
class Dataset:
    """One dataset, perhaps cut down, as files that contestants read."""

    name: str
    metric: str  # "cosine" or "l2"
    element: str  # "f16" or "u8": the type of the original vectors
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


def read_original(name, data):
    """(base, queries, neighbors) as stored."""
    folder = data / name
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset {name} not found under the --data folder {data}")
    if name == "debian-packages-384":
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
    """Larger is nearer: the similarity, or minus the squared distance."""
    products = queries @ base.T
    if metric == "cosine":
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
    depth = neighbors.shape[1]
    _, expected = brute_force(queries[pick], base, metric, depth)
    given = np.stack([scores(queries[[i]], base[neighbors[i]], metric)[0] for i in pick])
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
    if np.abs(np.sort(given) - np.sort(expected)).max() > tolerance:
        raise ValueError("the ground truth does not fit the vectors")


def prepare(name, data, cache, limit_base=None, limit_queries=None):
    """Write the files contestants read into `cache`, and return the Dataset."""
    metric, element = ("cosine", "f16") if name == "debian-packages-384" else ("l2", "u8")
    base, queries, neighbors = read_original(name, Path(data))
    count = min(limit_queries or DEFAULT_QUERIES[name], len(neighbors))
    full = not limit_base or limit_base >= len(base)
    # Spread over all queries: they may lie in an order (Debian's do), and the first would speak for a part of it.
    chosen = np.linspace(0, len(neighbors) - 1, count).astype(int)
    base, queries = base[: None if full else limit_base], np.array(queries[chosen])
    folder = Path(cache) / f"{name}-{len(base)}" / f"queries-{count}"
    folder.mkdir(parents=True, exist_ok=True)

    base_f32, query_f32 = as_f32(base, metric), as_f32(queries, metric)
    if full:
        neighbors = np.array(neighbors[chosen])
        spot_check(query_f32, base_f32, neighbors, metric)
    else:
        neighbors, _ = brute_force(query_f32, base_f32, metric, min(GROUND_TRUTH_DEPTH, len(base)))
    np.save(folder / "base.f32.npy", base_f32)
    np.save(folder / "queries.f32.npy", query_f32)
    originals = write_originals(folder, element, metric, base, queries, neighbors, base_f32, query_f32)
    return Dataset(
        name, metric, element, *originals, folder / "base.f32.npy", folder / "queries.f32.npy",
        len(base), count, base.shape[1], neighbors,
    )  # fmt: skip


def write_originals(folder, element, metric, base, queries, neighbors, base_f32, query_f32):
    """Base, queries and ground truth in the dataset's own formats: (base, queries, truth) paths."""
    gathered = [scores(query_f32[[i]], base_f32[row], metric)[0] for i, row in enumerate(neighbors)]
    distances = np.stack(gathered).astype(np.float32)
    ids = neighbors.astype("<i4")
    if element == "f16":
        paths = folder / "vectors.npy", folder / "queries.npy", folder / "neighbors.npy"
        for path, array in zip(paths, (base, queries, ids)):
            np.save(path, array)
        np.save(folder / "similarities.npy", distances)
        return paths
    paths = folder / "base.u8bin", folder / "query.u8bin", folder / "gt.ibin"
    write_bin(paths[0], base)
    write_bin(paths[1], queries)
    write_bin(paths[2], ids, -distances)
    return paths


def folder_bytes(path):
    """Bytes of a file, or of all files in a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(os.path.getsize(f) for f in files)
