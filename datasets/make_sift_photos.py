"""Makes the set sift-photos-128: SIFT descriptors of Debian's photographic wallpapers.

The wallpaper packages are downloaded with apt and unpacked (not installed) into
a temporary folder, or pictures are read from --photos. Their descriptors (128
values, each a byte) are made distinct, shuffled with a fixed seed, and split into
base and queries. Written into --out, little-endian, in the layout of the
big-ann benchmarks:

    base.1M.u8bin   u32 rows, u32 columns, then the rows as u8
    query.u8bin     the same
    gt100.2k.ibin   u32 rows, u32 columns, then int32 ids, then f32 squared
                    distances: the exact nearest of the first queries

Before: apt-get update; pip install -r requirements.txt
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from common import exact_l2, fail, say

PACKAGES = ["lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds",
            "plasma-workspace-wallpapers", "ukui-wallpapers"]
SUFFIXES = {".jpg", ".jpeg"}  # photographs, mostly; drawings come as PNG, WebP or SVG
DIMENSIONS = 128
CONTRAST = 0.01  # OpenCV's default, 0.04, finds too few points in these pictures for a million


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("sift-photos-128"))
    parser.add_argument("--photos", type=Path, metavar="DIR",
                        help="read the pictures under DIR instead of Debian's packages")
    parser.add_argument("--base", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=9000)
    parser.add_argument("--truth", type=int, default=2000, help="queries with exact neighbours")
    parser.add_argument("--neighbors", type=int, default=100)
    parser.add_argument("--side", type=int, default=3840,
                        help="larger pictures are scaled down to this longer side")
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--limit", type=int, metavar="N",
                        help="a trial: N base vectors and N/10 queries from the first pictures")
    return parser.parse_args()


def unpack(packages, folder):
    """Download Debian packages with apt and unpack them below the folder."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        fail("apt-get and dpkg-deb are needed; elsewhere give pictures with --photos DIR")
    for package in packages:
        say(f"  downloading {package}")
        run = subprocess.run(["apt-get", "download", package], cwd=folder,
                             capture_output=True, text=True)
        if run.returncode != 0:
            fail(f"{package}: {run.stderr.strip()}; run: apt-get update")
    for archive in sorted(Path(folder).glob("*.deb")):
        target = Path(folder) / archive.name.split("_")[0]
        subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)


def subject(path):
    """A picture's name without its size, so that one picture in many sizes counts once."""
    plain = re.sub(r"_?\d{3,4}x\d{3,4}(_Portrait)?", "", str(path))
    return re.sub(r"\.\w+$", "", plain.replace("images_dark", "images"))


def photos(folder):
    """One file for each subject, the largest, in the order of the subjects."""
    files = [path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES
             and path.is_file() and not path.is_symlink() and path.stem != "screenshot"]
    best = {}
    for path in sorted(files, key=lambda path: (path.stat().st_size, str(path))):
        best[subject(path.relative_to(folder))] = path
    if not best:
        fail(f"no pictures ({', '.join(sorted(SUFFIXES))}) under {folder}")
    return [best[name] for name in sorted(best)]


def descriptors(path, side):
    """SIFT descriptors of one picture, u8."""
    import cv2
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        say(f"  skipped, not readable: {path.name}")
        return np.empty((0, DIMENSIONS), np.uint8)
    scale = side / max(picture.shape)
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, found = cv2.SIFT_create(contrastThreshold=CONTRAST).detectAndCompute(picture, None)
    return np.empty((0, DIMENSIONS), np.uint8) if found is None else found.astype(np.uint8)


def distinct(rows):
    keys = np.ascontiguousarray(rows).view(f"V{DIMENSIONS}").ravel()
    return np.unique(keys).view(np.uint8).reshape(-1, DIMENSIONS)


def collect(folder, side, wanted, whole):
    """Distinct descriptors of all pictures, or (in a trial) of as many as are needed."""
    paths, parts, total = photos(folder), [], 0
    for number, path in enumerate(paths, 1):
        parts.append(descriptors(path, side))
        total += len(parts[-1])
        say(f"  {number} of {len(paths)} pictures, {total} descriptors: {path.name}")
        if not whole and total >= wanted and len(distinct(np.concatenate(parts))) >= wanted:
            break
    found = distinct(np.concatenate(parts))
    if len(found) < wanted:
        fail(f"the pictures gave {len(found)} distinct descriptors, {wanted} are needed: "
             "add pictures, or lower --base")
    say(f"  {len(found)} distinct descriptors of {len(parts)} pictures")
    return found


def write_binary(path, *arrays):
    """u32 rows, u32 columns, then the arrays one after the other."""
    with open(path, "wb") as out:
        np.array(arrays[0].shape, "<u4").tofile(out)
        for array in arrays:
            array.astype(array.dtype.newbyteorder("<")).tofile(out)


def main():
    options = arguments()
    if options.limit:
        options.base = min(options.base, options.limit)
        options.queries = min(options.queries, max(1, options.limit // 10))
    options.truth = min(options.truth, options.queries)
    try:
        import cv2
    except ImportError as error:
        fail(f"{error}; run: pip install -r requirements.txt")
    say(f"OpenCV {cv2.__version__}")
    wanted = options.base + options.queries
    with tempfile.TemporaryDirectory(prefix="wallpapers-") as folder:
        if options.photos is None:
            unpack(PACKAGES, folder)
        found = collect(options.photos or Path(folder), options.side, wanted, not options.limit)
    chosen = np.random.default_rng(options.seed).permutation(len(found))[:wanted]
    base, queries = found[chosen[:options.base]], found[chosen[options.base:]]
    say("computing exact neighbours")
    rows, distances = exact_l2(base, queries[:options.truth], options.neighbors)
    options.out.mkdir(parents=True, exist_ok=True)
    write_binary(options.out / "base.1M.u8bin", base)
    write_binary(options.out / "query.u8bin", queries)
    write_binary(options.out / "gt100.2k.ibin", rows, distances)
    say(f"{options.out}: {len(base)} base, {len(queries)} queries, {len(rows)} with neighbours")


if __name__ == "__main__":
    main()
