"""Makes debian-sample, a little shop out of the full set debian-packages-384.

Whole families of equal vectors are kept until they repeat as large a share of
the sample as of the catalogue; then come the most popular packages, some of
every section, and whole source packages drawn with a fixed seed. Beyond the kept
families no two vectors of the sample are equal. Queries are drawn from the full
set's among those whose package is in the sample; neighbours are computed anew.
The same input and seed give the same sample.

    items.jsonl.gz, vectors.npy        as in the full set, rows in the same order
    queries.jsonl.gz, queries.npy      item, and text if it is known
    neighbors.npy, similarities.npy    exact cosine top 100, rows of the sample
    related.jsonl.gz                   as in the full set, within the sample

The given full set knows no query texts; --texts takes them from apt's lists
(before: apt-get update -o Acquire::Languages=en).
"""

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np

from common import exact_cosine, fail, first_equal_row, read_jsonl, read_npy, say, write_jsonl

LARGE_FAMILIES = 3
SMALL_FAMILY = 20
POPULAR = 600
EACH_SECTION = 12


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("full", type=Path, help="folder of the full set")
    parser.add_argument("--out", type=Path, default=Path("debian-sample"))
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--neighbors", type=int, default=100)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--texts", action="store_true",
                        help="add the synopsis of each query from apt's lists")
    parser.add_argument("--limit", type=int, metavar="N", help="a trial: N items, N/20 queries")
    return parser.parse_args()


class Sample:
    """Chosen rows of the catalogue; takes a row only if its vector is new."""

    def __init__(self, twin, size):
        self.twin, self.size = twin, size
        self.rows, self.vectors = set(), set()

    def take_family(self, rows):
        self.rows.update(rows)
        self.vectors.add(self.twin[rows[0]])

    def take(self, rows):
        for row in rows:
            if len(self.rows) < self.size and self.twin[row] not in self.vectors:
                self.rows.add(row)
                self.vectors.add(self.twin[row])


def group(keys):
    """Key to its rows, in order."""
    groups = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    return groups


def choose_families(sample, twin, chance):
    """The largest families, then small ones by chance, until the share is met."""
    families = [rows for rows in group(twin).values() if len(rows) > 1]
    repeats = sum(len(rows) - 1 for rows in families)
    room = round(sample.size * repeats / len(twin))
    families.sort(key=lambda rows: (-len(rows), rows[0]))
    small = [rows for rows in families[LARGE_FAMILIES:] if len(rows) <= SMALL_FAMILY]
    chance.shuffle(small)
    for rows in families[:LARGE_FAMILIES] + small:
        if len(rows) - 1 <= room:
            sample.take_family(rows)
            room -= len(rows) - 1


def choose_rows(items, vectors, size, seed):
    chance = random.Random(seed)
    twin = first_equal_row(vectors).tolist()
    sample = Sample(twin, size)
    choose_families(sample, twin, chance)
    by_popularity = sorted(range(len(items)), key=lambda row: (-items[row]["rdeps"], row))
    sample.take(by_popularity[:min(POPULAR, size // 10)])
    for _, rows in sorted(group(item["section"] for item in items).items()):
        sample.take(chance.sample(rows, min(EACH_SECTION, len(rows))))
    sources = sorted(group(item["source"] for item in items).items())
    chance.shuffle(sources)
    for _, rows in sources:
        sample.take(rows)
    return sorted(sample.rows)


def choose_queries(asked, present, count, seed):
    """Numbers of the drawn queries, in the full set's order."""
    candidates = [number for number, query in enumerate(asked) if query["item"] in present]
    if len(candidates) < count:
        fail(f"{count} queries are wanted, {len(candidates)} have their package in the sample")
    return sorted(random.Random(seed).sample(candidates, count))


def add_texts(queries):
    import debian_index
    found = debian_index.packages("bookworm")
    for query in queries:
        fields = found.get(query["item"])
        if fields and "text" not in query:
            query["text"] = fields["Description"].splitlines()[0]
    say(f"{sum('text' in query for query in queries)} of {len(queries)} queries have a text")


def related_within(full, present):
    for row in read_jsonl(full / "related.jsonl.gz"):
        others = [name for name in row["related"] if name in present]
        if row["id"] in present and others:
            yield {"id": row["id"], "related": others}


def main():
    options = arguments()
    if options.limit:
        options.items, options.queries = options.limit, max(1, options.limit // 20)
    items = read_jsonl(options.full / "items.jsonl.gz")
    vectors = read_npy(options.full / "vectors.npy", np.float16)
    asked = read_jsonl(options.full / "queries.jsonl.gz")
    query_vectors = read_npy(options.full / "queries.npy", np.float16)
    if len(items) != len(vectors) or len(asked) != len(query_vectors):
        fail("the full set's lines and rows differ in number")
    if not options.neighbors <= options.items <= len(items):
        fail(f"--items must be between {options.neighbors} and {len(items)}")

    rows = choose_rows(items, vectors, options.items, options.seed)
    present = {items[row]["id"] for row in rows}
    drawn = choose_queries(asked, present, options.queries, options.seed)
    queries = [asked[number] for number in drawn]
    if options.texts:
        add_texts(queries)
    neighbors, similarities = exact_cosine(vectors[rows], query_vectors[drawn], options.neighbors)

    options.out.mkdir(parents=True, exist_ok=True)
    write_jsonl(options.out / "items.jsonl.gz", [items[row] for row in rows])
    write_jsonl(options.out / "queries.jsonl.gz", queries)
    write_jsonl(options.out / "related.jsonl.gz", related_within(options.full, present))
    np.save(options.out / "vectors.npy", vectors[rows])
    np.save(options.out / "queries.npy", query_vectors[drawn])
    np.save(options.out / "neighbors.npy", neighbors)
    np.save(options.out / "similarities.npy", similarities)
    say(f"{options.out}: {len(rows)} items, {len(drawn)} queries")


if __name__ == "__main__":
    main()
