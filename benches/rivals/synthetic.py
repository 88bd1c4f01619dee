#!/usr/bin/env python3
"""Synthetic catalogues by the shape of real ones: `python3 benches/rivals/synthetic.py --out DIR [NAME ...]`.

Each becomes a folder of DIR that run.py takes as a dataset: `vectors.npy` and `queries.npy` (f16, those of few numbers f32),
`neighbors.npy` (the exact 100 nearest) and `about.json`. All is drawn from numpy's generator with a fixed seed, so that the same numpy makes the same sets.
They guard against an engine that is tuned to the two real sets: none of them was looked at while the defaults were chosen.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from datasets import GROUND_TRUTH_DEPTH, as_f32, brute_force

QUERIES = 1000
SEED = 20261126


def blobs(random, rows, dimensions, clusters, spread):
    """Points around centres of very different sizes (Zipf), each blob with its own width."""
    centres = random.standard_normal((clusters, dimensions), dtype=np.float32)
    weights = 1 / np.arange(1, clusters + 1)
    which = random.choice(clusters, rows, p=weights / weights.sum())
    widths = spread * random.lognormal(0, 0.4, clusters).astype(np.float32)
    return centres[which] + widths[which, None] * random.standard_normal((rows, dimensions), dtype=np.float32)


def spectrum(random, rows, dimensions, decay, mean):
    """As embeddings of text are: variances that fall as a power of the rank, all turned, and a common direction."""
    scales = np.arange(1, dimensions + 1, dtype=np.float32) ** -decay
    turned = random.standard_normal((rows, dimensions), dtype=np.float32) * scales
    # A chain of reflections turns as well as a random rotation, and costs less.
    for _ in range(4):
        axis = random.standard_normal(dimensions, dtype=np.float32)
        axis /= np.linalg.norm(axis)
        turned -= 2 * np.outer(turned @ axis, axis)
    common = random.standard_normal(dimensions, dtype=np.float32)
    return turned + mean * np.linalg.norm(scales) * common / np.linalg.norm(common)


def clustered(random):
    """Word vectors: clusters of all sizes, angles."""
    return split(random, blobs(random, 120_000 + QUERIES, 100, 400, 0.6), "cosine")


def uniform(random):
    """No structure at all: the worst that a graph can meet."""
    return split(random, random.random((60_000 + QUERIES, 64), dtype=np.float32), "l2")


def copies(random):
    """A catalogue of variants: most vectors are there many times, one of them 5,000 times."""
    distinct = spectrum(random, 30_000 + QUERIES, 200, 0.5, 0.3)
    base, queries, metric = split(random, distinct, "cosine")
    times = np.minimum(random.zipf(1.7, len(base)), 5_000)
    rows = np.repeat(np.arange(len(base)), times)
    return base[random.permutation(rows)[:100_000]], queries, metric


def norms(random):
    """A recommender's factors: inner product of vectors whose lengths differ by orders of magnitude."""
    base, queries, metric = split(random, spectrum(random, 100_000 + QUERIES, 200, 0.4, 0.2), "dot")
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    return base * random.lognormal(0, 0.7, (len(base), 1)).astype(np.float32), queries, metric


def text(random):
    """Sentence embeddings of 768 numbers with topics."""
    rows = 80_000 + QUERIES
    topics = blobs(random, rows, 48, 200, 0.7) @ random.standard_normal((48, 768), dtype=np.float32) / np.sqrt(48)
    return split(random, topics + spectrum(random, rows, 768, 0.6, 0.5), "cosine")


def large(random):
    """Embeddings of 1,536 numbers."""
    return split(random, spectrum(random, 50_000 + QUERIES, 1536, 0.5, 0.6), "cosine")


def shifted(random):
    """Text that looks for pictures: queries from another distribution than items, in the same space."""
    latent = blobs(random, 100_000 + QUERIES, 40, 300, 0.6)
    together = latent @ random.standard_normal((40, 200), dtype=np.float32) / np.sqrt(40)
    pictures, texts, metric = split(random, together, "cosine")
    gap = random.standard_normal(200, dtype=np.float32)
    turn = np.eye(200, dtype=np.float32) + 0.25 * random.standard_normal((200, 200), dtype=np.float32) / np.sqrt(200)
    return pictures + 0.8 * gap, texts @ turn - 0.8 * gap + 0.5 * random.standard_normal(texts.shape, dtype=np.float32), metric


def islands(random):
    """Thousands of far groups of some thirty points each: hard to connect."""
    centres = 8 * random.standard_normal((4_000, 96), dtype=np.float32)
    which = random.integers(0, len(centres), 120_000 + QUERIES)
    return split(random, centres[which] + random.standard_normal((len(which), 96), dtype=np.float32), "l2")


def places(random):
    """Degrees of latitude and longitude in towns of very different sizes: two numbers, fine beside their range."""
    centres = np.stack([random.uniform(-60, 70, 300), random.uniform(-180, 180, 300)], 1).astype(np.float32)
    which = random.zipf(1.3, 200_000 + QUERIES) % 300
    return split(random, centres[which] + 0.05 * random.standard_normal((len(which), 2), dtype=np.float32), "l2")


def angles(random):
    """Directions in four dimensions: angles much finer than bytes tell apart."""
    return split(random, random.standard_normal((200_000 + QUERIES, 4), dtype=np.float32), "cosine")


def cone(random):
    """Embeddings of a text model that puts all texts into a narrow cone: any two have a cosine of 0.9."""
    vectors = spectrum(random, 100_000 + QUERIES, 384, 0.4, 3)
    return split(random, vectors, "cosine")


def shifted_means(random):
    """Measurements: each number around a value of its own, far from 0 beside how it varies."""
    latent = blobs(random, 100_000 + QUERIES, 16, 300, 0.6)
    vectors = latent @ random.standard_normal((16, 64), dtype=np.float32) / 4
    return split(random, vectors + 50 * random.standard_normal(64, dtype=np.float32), "l2")


def unequal(random):
    """One number a thousand times as large as the others, as of features that nobody has scaled."""
    vectors = random.standard_normal((60_000 + QUERIES, 32), dtype=np.float32)
    vectors[:, 5] *= 1_000
    return split(random, vectors, "l2")


def far(random):
    """Queries three times as long as items, so that most of their numbers lie beyond the items'."""
    base = random.standard_normal((200_000, 32), dtype=np.float32)
    return base, 3 * random.standard_normal((QUERIES, 32), dtype=np.float32), "l2"


def flat(random):
    """Inner product of directions of a plane: angles much finer than bytes tell apart."""
    vectors = random.standard_normal((100_000 + QUERIES, 2), dtype=np.float32)
    return split(random, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "dot")


def biased(random):
    """A model's factors with a constant column that is far larger than all others: inner product."""
    vectors = random.standard_normal((100_000 + QUERIES, 64), dtype=np.float32)
    vectors[:, 5] = 1_000
    return split(random, vectors, "dot")


def model(random):
    """A model's factors, of lengths that vary, with a bias among them; users weigh the bias by 1: inner product."""
    base = 0.2 * random.standard_normal((100_000, 64), dtype=np.float32)
    base *= np.exp(0.4 * random.standard_normal((100_000, 1), dtype=np.float32))
    base[:, 0] = 3 + 0.7 * random.standard_normal(100_000, dtype=np.float32)
    users = 0.3 * random.standard_normal((QUERIES, 64), dtype=np.float32)
    users[:, 0] = 1
    return base, users, "dot"


def growing(random):
    """For growth.py: four millions of 96 numbers."""
    latent = blobs(random, 4_000_000 + QUERIES, 32, 2_000, 0.7)
    return split(random, latent @ random.standard_normal((32, 96), dtype=np.float32) / np.sqrt(32), "l2")


def split(random, vectors, metric):
    """(base, queries, metric): the queries are drawn from all."""
    order = random.permutation(len(vectors))
    return vectors[order[QUERIES:]], vectors[order[:QUERIES]], metric


SETS = {
    "clustered-100": clustered, "uniform-64": uniform, "copies-200": copies, "norms-200": norms, "text-768": text,
    "large-1536": large, "shifted-200": shifted, "islands-96": islands,
}  # fmt: skip
HARD = {
    "places-2": places, "angles-4": angles, "far-32": far,
    "cone-384": cone, "means-64": shifted_means, "unequal-32": unequal, "flat-2": flat, "biased-64": biased,
    "model-64": model,
}  # fmt: skip
BIG = {"growing-96": growing}
ALL = SETS | HARD | BIG


def make(name, folder):
    # Each set has its own seed, so that one does not depend on which others are made.
    random = np.random.default_rng([SEED, *name.encode()])
    base, queries, metric = ALL[name](random)
    kept = np.float32 if name in HARD else np.float16
    base, queries = base.astype(kept), queries.astype(kept)
    # Distances of f32 would not tell near ones of few numbers apart.
    exact = [as_f32(vectors, metric).astype(np.float64 if name in HARD else np.float32) for vectors in (queries, base)]
    neighbors, _ = brute_force(*exact, metric, GROUND_TRUTH_DEPTH)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", base)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "neighbors.npy", neighbors)
    about = {"metric": metric, "what": ALL[name].__doc__, "seed": SEED, "numpy": np.__version__}
    (folder / "about.json").write_text(json.dumps(about))
    return base, metric


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, metavar="DIR", help="run.py's --data")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ALL)} (default: the first {len(SETS)})")
    options = parser.parse_args()
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(ALL)}")
    for name in options.names or SETS:
        began = time.monotonic()
        base, metric = make(name, Path(options.out) / name)
        print(f"{name}: {len(base):,} x {base.shape[1]}, {metric}, {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
