"""The filters of filters.py: which items each lets through, and the exact nearest among them.

- uniform: a seeded number of 0 to 999,999 for each item (`draw`), and those below a bound.
- correlated: the items of the query's own k-means cluster (of 128), then of the clusters nearest to that one, as many as
  are wanted; of the last cluster those whose draw is below a bound.
- anti-correlated: of the half of the items that is farthest from the query, those whose draw is below a bound.

A filter is given to each contestant as a bit mask an item (one for all queries, or one a query), and to those that filter by
stored attributes as a condition on `draw` and `cluster`. Anti-correlated filters are no condition on attributes.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from datasets import scores

DRAWS = 1_000_000
CLUSTERS = 128
KINDS = ("uniform", "correlated", "anti-correlated")


@dataclass
class Filter:
    kind: str
    share: float
    masks: np.ndarray  # bool, (1 or queries) x rows
    conditions: list = field(default_factory=list)  # as many as masks, or none

    @property
    def name(self):
        return f"{self.kind} {100 * self.share:g} %"

    def mask(self, query):
        return self.masks[query % len(self.masks)]

    def write(self, stem):
        """`stem`.mask: u32 masks, u32 rows, then the packed bits, the first item lowest; `stem`.json: the conditions."""
        with open(stem.with_suffix(".mask"), "wb") as file:
            np.array(self.masks.shape, dtype="<u4").tofile(file)
            np.packbits(self.masks, axis=1, bitorder="little").tofile(file)
        stem.with_suffix(".json").write_text(json.dumps(self.conditions))


def read_masks(path):
    """Packed masks, one a row."""
    count, rows = np.fromfile(path, dtype="<u4", count=2)
    return np.fromfile(path, dtype="u1", offset=8).reshape(count, -1), int(rows)


def draws(rows):
    """splitmix64 of the row number."""
    with np.errstate(over="ignore"):
        z = (np.arange(rows, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) % np.uint64(DRAWS)).astype(np.int64)


def nearest_centres(vectors, centres):
    half = np.square(centres).sum(1) / 2
    blocks = range(0, len(vectors), 50_000)
    return np.concatenate([np.argmax(vectors[at : at + 50_000] @ centres.T - half, axis=1) for at in blocks])


def k_means(base, rounds=10, sample=20_000):
    """Lloyd's k-means over a sample: (centres, the cluster of each item)."""
    some = np.array(base[:: max(1, len(base) // sample)])
    centres = some[:: max(1, len(some) // CLUSTERS)][:CLUSTERS].copy()
    for _ in range(rounds):
        owner = nearest_centres(some, centres)
        for cluster in range(len(centres)):
            members = some[owner == cluster]
            if len(members):
                centres[cluster] = members.mean(axis=0)
    return centres, nearest_centres(base, centres)


class Filters:
    """All filters over one dataset, made one at a time: masks of a million items for each query are large."""

    def __init__(self, dataset):
        self.metric = dataset.metric
        self.base, self.queries = np.load(dataset.base_f32, mmap_mode="r"), np.load(dataset.query_f32)
        self.draw = draws(len(self.base))
        self.centres, self.cluster = k_means(self.base)

    def make(self, kind, share):
        if kind == "uniform":
            bound = round(share * DRAWS)
            return Filter(kind, share, (self.draw < bound)[None], [{"below": bound}])
        if kind == "correlated":
            made = [self.near(query, round(share * len(self.base))) for query in self.queries]
            return Filter(kind, share, np.stack([mask for mask, _ in made]), [condition for _, condition in made])
        few = self.draw < round(2 * share * DRAWS)
        return Filter(kind, share, np.stack([self.far(query) & few for query in self.queries]))

    def near(self, query, wanted):
        own = self.centres[nearest_centres(query[None], self.centres)[0]]
        order = np.argsort(np.square(self.centres - own).sum(1), kind="stable")
        sizes = np.cumsum(np.bincount(self.cluster, minlength=len(order))[order])
        whole = int(np.searchsorted(sizes, wanted, side="right"))
        last, left = order[min(whole, len(order) - 1)], wanted - (sizes[whole - 1] if whole else 0)
        members = np.sort(self.draw[self.cluster == last])
        below = int(members[left]) if left < len(members) else DRAWS
        clusters = order[:whole].tolist()
        mask = np.isin(self.cluster, clusters) | ((self.cluster == last) & (self.draw < below))
        return mask, {"clusters": clusters, "last": int(last), "below": below}

    def far(self, query):
        near = scores(query[None], self.base, self.metric)[0]
        return near < np.median(near)

    def truth(self, filter, k):
        """Per query: the least score that an item of the exact k nearest has, and how many these are."""
        limits, counts = [], []
        for at, query in enumerate(self.queries):
            allowed = np.flatnonzero(filter.mask(at))
            count = min(k, len(allowed))
            near = scores(query[None], self.base[allowed], self.metric)[0]
            limits.append(-np.partition(-near, count - 1)[count - 1] if count else np.inf)
            counts.append(count)
        return np.array(limits), np.array(counts)

    def recall(self, filter, truth, ids):
        """Mean over the queries that have any match: distinct ids that pass and are no farther than the exact last."""
        limits, counts = truth
        epsilon = 1e-6 if self.metric == "cosine" else 0.5
        shares = []
        for at, row in enumerate(ids):
            row = np.unique(row[(row >= 0) & (row < len(self.base))])
            row = row[filter.mask(at)[row]]
            if counts[at]:
                near = scores(self.queries[at][None], self.base[row], self.metric)[0] if len(row) else np.empty(0)
                shares.append(min(np.count_nonzero(near >= limits[at] - epsilon), counts[at]) / counts[at])
        return float(np.mean(shares)) if shares else 1.0
