"""What the dataset scripts share: gzipped JSON lines, exact neighbours, errors.

Everything written here is reproducible byte for byte on one machine: gzip
carries no time stamp, and neighbours at the same distance are ordered by row.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np


def fail(message):
    """Stop with one clear line instead of a traceback."""
    sys.exit(f"error: {message}")


def say(message):
    """Progress goes to stderr, at once."""
    print(message, file=sys.stderr, flush=True)


def read_jsonl(path):
    if not Path(path).is_file():
        fail(f"{path} is missing")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_jsonl(path, rows):
    with open(path, "wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
            for row in rows:
                out.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))


def read_npy(path, dtype):
    if not Path(path).is_file():
        fail(f"{path} is missing")
    array = np.load(path)
    if array.dtype != dtype or array.ndim != 2:
        fail(f"{path}: expected a matrix of {dtype}, got {array.ndim} axes of {array.dtype}")
    return array


def first_equal_row(vectors):
    """For each row, the first row that holds the same bytes (itself, if it has no twin)."""
    rows = np.ascontiguousarray(vectors)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def smallest(values, k):
    """Indices of the k smallest values, in order; equal values by index."""
    bound = np.partition(values, k - 1)[k - 1]
    candidates = np.flatnonzero(values <= bound)
    order = np.argsort(values[candidates], kind="stable")
    return candidates[order][:k]


def unit(vectors):
    """Rows of length 1, in float64."""
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def report(done, total, block):
    """Progress of the neighbours, every tenth block and at the end."""
    if done >= total or done // block % 10 == 0:
        say(f"  neighbours: {min(done, total)} of {total} queries")


def exact_cosine(vectors, queries, k, block=200):
    """Exact cosine top k: (int32 rows, f32 similarities).

    Computed in float64 on the values given, then rounded to f32. Equal vectors
    take the similarity of the first of them, so that their order is by row.
    """
    if len(vectors) < k:
        fail(f"{k} neighbours were asked for, but there are only {len(vectors)} vectors")
    base, wanted = unit(vectors).T, unit(queries)
    twin = first_equal_row(vectors)
    rows = np.empty((len(queries), k), np.int32)
    similarities = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), block):
        scores = (wanted[start:start + block] @ base).astype(np.float32)[:, twin]
        for offset, score in enumerate(scores):
            best = smallest(-score, k)
            rows[start + offset] = best
            similarities[start + offset] = score[best]
        report(start + block, len(queries), block)
    return rows, similarities


def exact_l2(base, queries, k, block=50):
    """Exact squared-L2 top k of u8 vectors: (int32 rows, f32 distances).

    All sums are whole numbers below 2^24, so float32 holds them exactly.
    """
    if len(base) < k:
        fail(f"{k} neighbours were asked for, but there are only {len(base)} vectors")
    wide = base.astype(np.float32)
    norms = np.einsum("ij,ij->i", wide, wide)
    rows = np.empty((len(queries), k), np.int32)
    distances = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), block):
        wanted = queries[start:start + block].astype(np.float32)
        products = wanted @ wide.T
        for offset, query in enumerate(wanted):
            distance = norms - 2 * products[offset] + query @ query
            best = smallest(distance, k)
            rows[start + offset] = best
            distances[start + offset] = distance[best]
        report(start + block, len(queries), block)
    return rows, distances
