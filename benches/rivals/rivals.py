"""The rivals that have a Python package: how each is built, saved, loaded and searched.

Every class has the same four methods. `build` is timed and gets float32 rows (of unit length under
cosine); `load` gets them too, for rivals whose file does not hold the vectors; `search` answers all
queries in one call on `threads` threads and returns ids, k a query.
"""

import numpy as np

import filtering
import native


class Rival:
    threads = 1  # that search

    def __init__(self, params, metric, element):
        self.params, self.metric, self.element = params, metric, element

    def prepare_queries(self, queries):
        """Whatever the rival's own type needs, outside of the timed part."""
        return queries

    def prepare_filters(self, masks, rows, conditions):
        """A filter for each packed mask, in the rival's own form; see filtering.py."""
        raise NotImplementedError("it does not filter")


class Hnswlib(native.Filtering, Rival):
    def build(self, base, threads):
        import hnswlib

        self.index = hnswlib.Index("l2" if self.metric == "l2" else "ip", base.shape[1])
        self.index.init_index(len(base), M=self.params["M"], ef_construction=self.params["efc"])
        self.index.add_items(base, num_threads=threads)

    def save(self, folder):
        self.index.save_index(str(folder / "index"))

    def load(self, folder, base):
        import hnswlib

        self.index = hnswlib.Index("l2" if self.metric == "l2" else "ip", base.shape[1])
        self.index.load_index(str(folder / "index"))
        self.folder, self.dimensions = folder, base.shape[1]

    def search(self, queries, k, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k, num_threads=self.threads)[0]


class Faiss(Rival):
    def build(self, base, threads):
        import faiss

        metric = faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        dimensions, m = base.shape[1], self.params["M"]
        if self.params["storage"] == "flat":
            index = faiss.IndexHNSWFlat(dimensions, m, metric)
        else:
            # u8 vectors are codes already: the direct quantiser loses nothing.
            code = {"f16": faiss.ScalarQuantizer.QT_8bit, "u8": faiss.ScalarQuantizer.QT_8bit_direct}
            index = faiss.IndexHNSWSQ(dimensions, code[self.element], m, metric)
        index.hnsw.efConstruction = self.params["efc"]
        if self.params.get("refine"):
            index = faiss.IndexRefineFlat(index)
        faiss.omp_set_num_threads(threads)
        index.train(base)
        index.add(base)
        self.index = index

    def save(self, folder):
        import faiss

        faiss.write_index(self.index, str(folder / "index"))

    def load(self, folder, base):
        import faiss

        faiss.omp_set_num_threads(self.threads)
        self.index = faiss.read_index(str(folder / "index"))
        self.graph = self.index
        if self.params.get("refine"):
            self.index.k_factor = self.params["refine"]
            self.graph = faiss.downcast_index(self.index.base_index)

    def search(self, queries, k, ef):
        self.graph.hnsw.efSearch = ef
        return self.index.search(queries, k)[1]

    def prepare_filters(self, masks, rows, conditions):
        import faiss

        self.masks = np.ascontiguousarray(masks)
        return [faiss.IDSelectorBitmap(rows, faiss.swig_ptr(mask)) for mask in self.masks]

    def search_filtered(self, query, k, ef, prepared):
        import faiss

        params = faiss.SearchParametersHNSW(efSearch=ef, sel=prepared)
        return self.index.search(query[None], k, params=params)[1]


class Usearch(native.Filtering, Rival):
    def empty(self, dimensions):
        from usearch.index import Index

        return Index(
            ndim=dimensions,
            metric="l2sq" if self.metric == "l2" else "ip",
            dtype=self.params["dtype"],
            connectivity=self.params["M"],
            expansion_add=self.params["efc"],
            enable_key_lookups=False,
        )

    def prepare_queries(self, vectors):
        # usearch scales f32 to unit length on the way to i8, which l2 does not survive. Moving u8
        # vectors by 128 makes them i8 with all distances as they were.
        if self.params["dtype"] == "i8" and self.element == "u8":
            return (vectors - 128).astype(np.int8)
        return vectors

    def build(self, base, threads):
        self.index = self.empty(base.shape[1])
        self.index.add(np.arange(len(base), dtype=np.uint64), self.prepare_queries(base), threads=threads)

    def save(self, folder):
        self.index.save(str(folder / "index"))

    def load(self, folder, base):
        self.index = self.empty(base.shape[1])
        self.index.load(str(folder / "index"))
        self.folder, self.dimensions = folder, base.shape[1]

    def search(self, queries, k, ef):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=self.threads).keys


class Glass(Rival):
    @property
    def space(self):
        return "L2" if self.metric == "l2" else "IP"

    def build(self, base, threads):
        import glass

        glass.set_num_threads(threads)
        index = glass.Index("HNSW", self.space, self.params["build"], self.params["R"], self.params["L"])
        self.graph = index.build(base)

    def save(self, folder):
        self.graph.save(str(folder / "index"))

    def load(self, folder, base):
        import glass

        graph = glass.Graph(str(folder / "index"))
        refine = self.params.get("refine", "")
        self.searcher = glass.Searcher(graph, base, self.space, self.params["search"], refine)
        glass.set_num_threads(self.threads)
        self.searcher.set_ef(100)
        self.searcher.optimize(self.threads)

    def search(self, queries, k, ef):
        self.searcher.set_ef(ef)
        return self.searcher.batch_search(queries, k, self.threads)[0]


class SymphonyQG(Rival):
    def build(self, base, threads):
        from rabitqlib import SymqgIndex

        metric = "l2" if self.metric == "l2" else "ip"
        self.index = SymqgIndex(base.shape[1], self.params["R"], metric)
        self.index.build(base, self.params["efc"], threads)

    def save(self, folder):
        self.index.save(str(folder / "index"))

    def load(self, folder, base):
        from rabitqlib import SymqgIndex

        self.index = SymqgIndex.load(str(folder / "index"))

    def search(self, queries, k, ef):
        return self.index.search(queries, k, ef, self.threads)[0]


class Attributes:
    """A filter of filtering.py as a test of two stored integers, `draw` and `cluster`."""

    def rows_of(self, base):
        _, cluster = filtering.k_means(base)
        return zip(filtering.draws(len(base)).tolist(), cluster.tolist())

    def prepare_filters(self, masks, rows, conditions):
        if not conditions:
            raise ValueError("no condition on attributes says this")
        return [self.condition(**condition) for condition in conditions]


class QdrantEdge(Attributes, Rival):
    def config(self, dimensions):
        import qdrant_edge as q

        distance = q.Distance.Dot if self.metric == "cosine" else q.Distance.Euclid
        graph = q.HnswIndexConfig(m=self.params["M"], ef_construct=self.params["efc"], full_scan_threshold=10_000)
        optimizers = q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1, max_segment_size=10**9)
        vectors = q.EdgeVectorParams(size=dimensions, distance=distance)
        return q.EdgeConfig(vectors=vectors, hnsw_config=graph, optimizers=optimizers, max_search_threads=1)

    def build(self, base, threads):
        import tempfile

        import qdrant_edge as q

        self.folder = tempfile.mkdtemp()
        shard = q.EdgeShard.create(self.folder, self.config(base.shape[1]))
        for name in ("draw", "cluster"):
            shard.update(q.UpdateOperation.create_field_index(name, q.PayloadSchemaType.Integer))
        points = []
        for at, (draw, cluster) in enumerate(self.rows_of(base)):
            points.append(q.Point(at, base[at].tolist(), {"draw": draw, "cluster": cluster}))
            if len(points) == 1000 or at + 1 == len(base):
                shard.update(q.UpdateOperation.upsert_points(points))
                points = []
        while shard.optimize():
            pass
        shard.flush()
        shard.close()

    def save(self, folder):
        import shutil

        shutil.move(self.folder, folder / "shard")

    def load(self, folder, base):
        import qdrant_edge as q

        self.shard = q.EdgeShard.load(str(folder / "shard"), self.config(base.shape[1]))

    def ask(self, query, k, ef, condition):
        import qdrant_edge as q

        request = q.SearchRequest(
            query=q.Query.Nearest(query.tolist()), limit=k, filter=condition, params=q.SearchParams(hnsw_ef=ef),
            with_payload=False, with_vector=False,
        )  # fmt: skip
        return [point.id for point in self.shard.search(request)]

    def search(self, queries, k, ef):
        return [self.ask(query, k, ef, None) for query in queries]

    def search_filtered(self, query, k, ef, prepared):
        return self.ask(query, k, ef, prepared)

    def condition(self, below, clusters=None, last=None):
        import qdrant_edge as q

        few = q.FieldCondition("draw", range=q.RangeFloat(lt=below))
        if clusters is None:
            return q.Filter(must=[few])
        edge = q.Filter(must=[few, q.FieldCondition("cluster", match=q.MatchValue(last))])
        return q.Filter(should=[q.FieldCondition("cluster", match=q.MatchAny(clusters)), edge]) if clusters else edge


class Zvec(Attributes, Rival):
    def build(self, base, threads):
        import tempfile

        import zvec

        metric = zvec.MetricType.IP if self.metric == "cosine" else zvec.MetricType.L2
        graph = zvec.HnswIndexParam(metric_type=metric, m=self.params["M"], ef_construction=self.params["efc"])
        kind = zvec.DataType.INT64
        inverted = zvec.InvertIndexParam(enable_range_optimization=True)
        fields = [zvec.FieldSchema(name, kind, index_param=inverted) for name in ("draw", "cluster")]
        vectors = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, base.shape[1], index_param=graph)
        self.folder = tempfile.mkdtemp()
        path = f"{self.folder}/collection"
        self.collection = zvec.create_and_open(path, zvec.CollectionSchema("rival", fields=fields, vectors=vectors))
        docs = []
        for at, (draw, cluster) in enumerate(self.rows_of(base)):
            fields = {"draw": draw, "cluster": cluster}
            docs.append(zvec.Doc(id=str(at), vectors={"vector": base[at].tolist()}, fields=fields))
            if len(docs) == 1000 or at + 1 == len(base):
                self.collection.insert(docs)
                docs = []
        self.collection.optimize()
        self.collection.flush()

    def save(self, folder):
        import shutil

        self.collection.close()
        shutil.move(f"{self.folder}/collection", folder / "collection")

    def load(self, folder, base):
        import zvec

        zvec.init(query_threads=1, log_level=zvec.LogLevel.ERROR)
        self.collection = zvec.open(str(folder / "collection"))

    def ask(self, query, k, ef, condition):
        import zvec

        asked = zvec.Query("vector", vector=query, param=zvec.HnswQueryParam(ef=ef))
        return [int(doc.id) for doc in self.collection.query(asked, topk=k, filter=condition, output_fields=[])]

    def search(self, queries, k, ef):
        return [self.ask(query, k, ef, None) for query in queries]

    def search_filtered(self, query, k, ef, prepared):
        return self.ask(query, k, ef, prepared)

    def condition(self, below, clusters=None, last=None):
        if clusters is None:
            return f"draw < {below}"
        edge = f"(cluster = {last} AND draw < {below})"
        return f"cluster IN ({', '.join(map(str, clusters))}) OR {edge}" if clusters else edge


CLASSES = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "usearch": Usearch,
    "glass": Glass,
    "symphonyqg": SymphonyQG,
    "qdrant": QdrantEdge,
    "zvec": Zvec,
}
PACKAGES = {
    "hnswlib": "hnswlib",
    "faiss": "faiss-cpu",
    "usearch": "usearch",
    "glass": "pyglass-portable",
    "symphonyqg": "rabitqlib",
    "qdrant": "qdrant-edge-py",
    "zvec": "zvec",
}

# Rivals that walk with an ef below k; all others widen it to k, or refuse.
SMALLEST_EF = {"shortlist": 4, "glass": 4}

# (rival, label, parameters, in the quick grid?)
GRID = [
    ("hnsw_rs", "hnsw_rs M=16", {"M": 16, "efc": 200, "kernel": "simdeez"}, True),
    ("hnsw_rs", "hnsw_rs M=16 simsimd", {"M": 16, "efc": 200, "kernel": "simsimd"}, False),
    ("hnsw_rs", "hnsw_rs M=32", {"M": 32, "efc": 400, "kernel": "simdeez"}, False),
    ("hnsw_rs", "hnsw_rs M=32 scale=0.5", {"M": 32, "efc": 400, "scale": 0.5, "kernel": "simdeez"}, False),
    ("hnswlib", "hnswlib M=16", {"M": 16, "efc": 200}, True),
    ("hnswlib", "hnswlib M=32", {"M": 32, "efc": 400}, False),
    ("faiss", "faiss HNSW Flat M=16", {"storage": "flat", "M": 16, "efc": 200}, True),
    ("faiss", "faiss HNSW Flat M=32", {"storage": "flat", "M": 32, "efc": 400}, False),
    ("faiss", "faiss HNSW SQ8 M=16", {"storage": "sq8", "M": 16, "efc": 200}, True),
    ("faiss", "faiss HNSW SQ8 M=32", {"storage": "sq8", "M": 32, "efc": 400}, False),
    ("faiss", "faiss HNSW SQ8 M=16 refined", {"storage": "sq8", "M": 16, "efc": 200, "refine": 1.5}, False),
    ("usearch", "usearch f32 M=16", {"dtype": "f32", "M": 16, "efc": 200}, True),
    ("usearch", "usearch f16 M=16", {"dtype": "f16", "M": 16, "efc": 200}, True),
    ("usearch", "usearch i8 M=16", {"dtype": "i8", "M": 16, "efc": 200}, True),
    ("usearch", "usearch f16 M=32", {"dtype": "f16", "M": 32, "efc": 400}, False),
    ("usearch", "usearch i8 M=32", {"dtype": "i8", "M": 32, "efc": 400}, False),
    ("glass", "Glass SQ8U R=32", {"build": "SQ8U", "search": "SQ8U", "R": 32, "L": 200}, True),
    ("glass", "Glass SQ8U+FP16 R=32",
     {"build": "SQ8U", "search": "SQ8U", "refine": "FP16", "R": 32, "L": 200}, True),
    ("glass", "Glass SQ8U+FP32 R=64",
     {"build": "SQ8U", "search": "SQ8U", "refine": "FP32", "R": 64, "L": 400}, False),
    ("glass", "Glass SQ4U+FP16 R=32",
     {"build": "SQ8U", "search": "SQ4U", "refine": "FP16", "R": 32, "L": 200}, False),
    ("symphonyqg", "SymphonyQG R=32", {"R": 32, "efc": 200}, True),
    ("symphonyqg", "SymphonyQG R=32 efc=400", {"R": 32, "efc": 400}, False),
    ("symphonyqg", "SymphonyQG R=64", {"R": 64, "efc": 400}, False),
]  # fmt: skip
