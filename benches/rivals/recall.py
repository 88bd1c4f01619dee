"""Recall@k that is fair to ties.

An id counts when the exact distance of its vector (computed again in float32 from the vectors
themselves, never taken from the contestant) is no farther than that of the exact k-th neighbour, plus
a little for float noise. Ids that repeat within an answer count once; ids out of range count nothing.
"""

import numpy as np

TOLERANCE = 1e-6  # of the distance; under cosine, where it is 1 - similarity, of 1
BLOCK = 100


def distances(queries, base, ids, metric):
    """Exact distance of each query (rows) to its own list of ids."""
    rows = base[ids]
    if metric != "l2":
        return (metric == "cosine") - np.einsum("qd,qkd->qk", queries, rows)
    return np.square(rows - queries[:, None, :]).sum(axis=2)


class Judge:
    def __init__(self, base_file, query_file, neighbors, metric, k):
        self.base = np.load(base_file, mmap_mode="r")
        self.queries = np.load(query_file)
        self.metric, self.k = metric, k
        # An id of the exact list needs no distance: it is found.
        self.exact = np.sort(self.keys(neighbors[:, :k].astype(np.int64)).ravel())
        self.limit = np.empty(len(self.queries), dtype=np.float32)
        for part in self.blocks():
            exact = distances(self.queries[part], self.base, neighbors[part, :k], metric)
            last = exact.max(axis=1)
            self.limit[part] = last + TOLERANCE * (1 if metric == "cosine" else np.abs(last))

    def blocks(self):
        starts = range(0, len(self.queries), BLOCK)
        return [slice(start, start + BLOCK) for start in starts]

    def recall(self, ids):
        """Mean recall of an answer of k ids a query (-1 or anything out of range: no item)."""
        if ids.shape != (len(self.queries), self.k):
            raise ValueError(f"expected {len(self.queries)} x {self.k} ids, found {ids.shape}")
        ids = np.sort(ids.astype(np.int64), axis=1)
        valid = (ids >= 0) & (ids < len(self.base))
        valid[:, 1:] &= ids[:, 1:] != ids[:, :-1]
        known = valid & np.isin(self.keys(ids), self.exact)
        row, column = np.nonzero(valid & ~known)
        hits = np.count_nonzero(known)
        for start in range(0, len(row), 10_000):
            part = slice(start, start + 10_000)
            asked, found = row[part], ids[row[part], column[part]]
            near = distances(self.queries[asked], self.base, found[:, None], self.metric)[:, 0]
            hits += np.count_nonzero(near <= self.limit[asked])
        return hits / ids.size

    def keys(self, ids):
        """One number for each pair of query and id."""
        return ids + np.arange(len(ids))[:, None] * (len(self.base) + 1)
