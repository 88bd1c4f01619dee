"""Splits the judgments of the little shop (`shortlist demo --write DIR`) in two by source package.

Writes DIR/judgments-even.jsonl and DIR/judgments-odd.jsonl: the queries whose packages are built from every other source,
in the order of their names. What is tuned on the one half can be judged on the other: no source is in both.

    python datasets/split_shop.py shop
"""

import json
import sys
from pathlib import Path


def main(directory: Path) -> None:
    def lines(name: str) -> list[dict]:
        return [json.loads(line) for line in (directory / name).read_text().splitlines()]

    source_of = {item["id"]: item["source"] for item in lines("items.jsonl")}
    judgments = lines("judgments.jsonl")
    sources = sorted({source_of[one["id"]] for one in judgments})
    for start, half in enumerate(["even", "odd"]):
        chosen = set(sources[start::2])
        with (directory / f"judgments-{half}.jsonl").open("w") as out:
            for one in judgments:
                if source_of[one["id"]] in chosen:
                    out.write(json.dumps(one) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
