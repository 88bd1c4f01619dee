"""Filtered search of hnswlib and usearch in C++ (filtered.cpp), compiled for this processor when first asked for."""

import ctypes
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "cache" / "sources"  # the packages' headers, and what was compiled with them
PACKAGES = ("hnswlib", "usearch")


def headers():
    """The include folders of the source packages of the very versions that are installed."""
    folders = []
    for package in PACKAGES:
        name = f"{package}-{metadata.version(package)}"
        if not (SOURCES / name).exists():
            wanted = ["--no-deps", "--no-binary", package, "--dest", str(SOURCES), name.replace("-", "==")]
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *wanted], check=True, stdout=sys.stderr)
            with tarfile.open(SOURCES / f"{name}.tar.gz") as archive:
                archive.extractall(SOURCES, filter="data")
        folders += [SOURCES / name, SOURCES / name / "include", SOURCES / name / "numkong" / "include"]
    return folders


def library():
    """filtered.cpp as a library. usearch's kernels are those of its own dependency, chosen for the processor."""
    import usearch  # noqa: F401, it loads the kernels

    SOURCES.mkdir(parents=True, exist_ok=True)
    source, built = HERE / "filtered.cpp", SOURCES / "filtered.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        includes = [f"-I{folder}" for folder in headers()]
        # Without bf16, as not each g++ that knows the instructions has the type in C++.
        flags = ["-std=c++17", "-O3", "-march=native", "-mno-avx512bf16", "-ffast-math", "-shared", "-fPIC", "-w"]
        defines = ["-DUSEARCH_USE_NUMKONG=1", "-DNK_DYNAMIC_DISPATCH=1"]
        half_done = built.with_suffix(".tmp")
        subprocess.run(["g++", *flags, *defines, *includes, str(source), "-o", str(half_done)], check=True)
        half_done.rename(built)
    return ctypes.CDLL(str(built))


class Filtering:
    """Part of a rival: an index of its own beside the binding's, loaded when the first filter comes."""

    opened = None

    def open(self):
        native, name, path = library(), type(self).__name__.lower(), str(self.folder / "index").encode()
        start, self.native_search = getattr(native, f"{name}_open"), getattr(native, f"{name}_search")
        start.restype, self.native_search.restype = ctypes.c_void_p, ctypes.c_int64
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self.native_search.argtypes = [pointer, pointer, pointer, size, size, pointer]
        more = [size(self.dimensions), ctypes.c_bool(self.metric == "l2")] if name == "hnswlib" else []
        self.opened = start(ctypes.c_char_p(path), *more)
        if not self.opened:
            raise OSError(f"{path.decode()} does not load")

    def prepare_filters(self, masks, rows, conditions):
        if not self.opened:
            self.open()
        self.masks = np.ascontiguousarray(masks)
        return list(self.masks)

    def search_filtered(self, query, k, ef, mask):
        ids = np.empty(k, dtype=np.int32)
        query = np.ascontiguousarray(query, dtype=np.float32)
        found = self.native_search(self.opened, query.ctypes.data, mask.ctypes.data, k, ef, ids.ctypes.data)
        if found < 0:
            raise RuntimeError("the search failed")
        return ids[:found]
