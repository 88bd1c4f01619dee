#!/usr/bin/env python3
"""Shortlist's server beside Chroma's, over the same load generator: `servers.py --data DIR`.

Each server in turn has the vectors of DIR/debian-packages-384 and runs on one core, the load generator (`../client/load.rs`) on another.
Both get the same queries, k = 100, singly and in batches of 32, over 1, 8 and 64 connections; Shortlist with base64 f32, Chroma with numbers, which is
what its API takes. Both graphs have M 20, ef_construction 200, ef 200 (`--ef`). Prints a table: QPS, p50, p99, CPU of the server a search, recall@100.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
K, BATCH, CONNECTIONS = 100, 32, (1, 8, 64)
SERVER_CORE, CLIENT_CORE = "0", "1"


def call(port, method, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, None if body is None else json.dumps(body).encode()) as answer:
        return json.load(answer)


class Shortlist:
    name, ready = "Shortlist", "/v1/collections/shop"

    def __init__(self, options, work):
        self.program, self.work, self.ef = ROOT / "target/release/shortlist", work, options.ef
        folder = Path(options.data) / "debian-packages-384"
        files = ["--vectors", folder / "vectors.npy", "--out", work / "shop", "--metric", "cosine"]
        subprocess.run([self.program, "build", *files], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def command(self, port):
        return [self.program, "serve", "--data", self.work, "--listen", f"127.0.0.1:{port}"]

    def fill(self, port, vectors):
        """It serves what was built."""

    def request(self, queries):
        def search(query):
            vector = base64.b64encode(query.astype("<f4").tobytes()).decode()
            return {"query": {"vector_f32": vector}, "limit": K, "ef": self.ef}

        if len(queries) == 1:
            return "/v1/collections/shop/search", search(queries[0])
        return "/v1/collections/shop/search/batch", {"searches": [search(query) for query in queries]}

    def ids(self, answer):
        return [int(result["id"]) for result in answer["results"]]


class Chroma:
    name, ready = "Chroma", "/api/v2/heartbeat"
    collections = "/api/v2/tenants/default_tenant/databases/default_database/collections"

    def __init__(self, options, work):
        self.work, self.ef = work, options.ef

    def command(self, port):
        program = Path(sys.executable).parent / "chroma"
        return [program, "run", "--path", self.work, "--host", "127.0.0.1", "--port", str(port)]

    def fill(self, port, vectors):
        graph = {"space": "cosine", "ef_construction": 200, "max_neighbors": 20, "ef_search": self.ef}
        made = call(port, "POST", self.collections, {"name": "shop", "configuration": {"hnsw": graph}})
        self.collection = f"{self.collections}/{made['id']}"
        for start in range(0, len(vectors), 1000):
            rows = vectors[start : start + 1000].astype(np.float32)
            ids = [str(start + row) for row in range(len(rows))]
            call(port, "POST", f"{self.collection}/add", {"ids": ids, "embeddings": rows.tolist()})

    def request(self, queries):
        vectors = queries.astype(np.float32).tolist()
        return f"{self.collection}/query", {"query_embeddings": vectors, "n_results": K, "include": ["distances"]}

    def ids(self, answer):
        return [int(id) for id in answer["ids"][0]]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait(port, path):
    for _ in range(600):
        try:
            return call(port, "GET", path)
        except (urllib.error.URLError, ConnectionError, json.JSONDecodeError):
            time.sleep(0.1)
    raise TimeoutError(f"no answer on port {port}")


def write_requests(file, server, queries, size):
    with open(file, "wb") as out:
        for start in range(0, len(queries) - size + 1, size):
            path, body = server.request(queries[start : start + size])
            body = json.dumps(body)
            request = (
                f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n{body}"
            ).encode()
            out.write(struct.pack("<I", len(request)) + request)


def recall(server, port, queries, neighbors, count):
    hits = 0
    for query, near in zip(queries[:count], neighbors[:count]):
        path, body = server.request(query[None])
        hits += len(set(server.ids(call(port, "POST", path, body))) & set(near[:K].tolist()))
    return hits / (K * count)


def load(port, process, connections, seconds, file):
    generator = ["taskset", "--cpu-list", CLIENT_CORE, "cargo", "bench", "--quiet", "--bench", "http", "--", "load"]
    arguments = [str(port), str(connections), str(seconds), str(file), str(process)]
    done = subprocess.run(generator + arguments, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def measure(kind, options, vectors, queries, neighbors):
    work = Path(tempfile.mkdtemp(prefix="servers-"))
    server, port = kind(options, work), free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | {"RUST_LOG": "warn"}}
    process = subprocess.Popen(["taskset", "--cpu-list", SERVER_CORE, *map(str, server.command(port))], **quiet)
    try:
        wait(port, server.ready)
        server.fill(port, vectors)
        found = recall(server, port, queries, neighbors, options.judged)
        for size in (1, BATCH):
            file = work / f"requests-{size}"
            write_requests(file, server, queries, size)
            for connections in CONNECTIONS:
                row = load(port, process.pid, connections, options.seconds, file)
                searches = max(row["answers"], 1) * size
                print(
                    f"| {server.name} | {size} | {connections} | {searches / row['seconds']:,.0f} | {row['p50_us'] / 1e3:.2f} "
                    f"| {row['p99_us'] / 1e3:.2f} | {row['server_cpu'] * 1e6 / searches:,.0f} | {found:.4f} | {row['errors']} |",
                    flush=True,
                )
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(work)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="the folder that holds debian-packages-384")
    parser.add_argument("--ef", type=int, default=200, help="width of the searches (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement (default: %(default)s)")
    parser.add_argument("--judged", type=int, default=200, help="queries whose recall is looked at (default: %(default)s)")
    parser.add_argument("--limit-base", type=int, help="only so many vectors, for a trial of Chroma; recall means nothing then")
    parser.add_argument("--only", choices=["Shortlist", "Chroma"])
    options = parser.parse_args()
    folder = Path(options.data) / "debian-packages-384"
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")[: options.limit_base]
    queries, neighbors = (np.load(folder / name)[:1000] for name in ("queries.npy", "neighbors.npy"))
    print("| server | searches a request | connections | QPS | p50 ms | p99 ms | CPU us a search | recall@100 | errors |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in (Shortlist, Chroma):
        if options.only in (None, kind.name):
            measure(kind, options, vectors, queries, neighbors)


if __name__ == "__main__":
    main()
