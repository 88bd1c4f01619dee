"""The table and the plot of one result."""

import math

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: E402

TARGETS = (0.90, 0.95, 0.99, 0.999)
COLORS = {
    "shortlist": "#d62728",
    "symphonyqg": "#1f77b4",
    "glass": "#2ca02c",
    "faiss": "#9467bd",
    "hnswlib": "#8c564b",
    "usearch": "#e69f00",
    "hnsw_rs": "#5f6b76",
}
DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1))]
MARKERS = ["o", "s", "^", "D", "v"]


def frontier(points):
    """Points no other point beats in both recall and QPS, by rising recall."""
    best, out = 0, []
    for point in sorted(points, key=lambda p: (-p["recall"], -p["qps"])):
        if point["qps"] > best:
            best = point["qps"]
            out.append(point)
    return out[::-1]


def qps_at(points, target):
    """(QPS, kind): interpolated, "floor" where the least search is past the target, or never."""
    line = frontier(points)
    if not line or line[-1]["recall"] < target:
        return None, "never"
    if line[0]["recall"] >= target:
        return line[0]["qps"], "floor"
    for low, high in zip(line, line[1:]):
        if high["recall"] >= target:
            share = (target - low["recall"]) / (high["recall"] - low["recall"])
            return math.exp((1 - share) * math.log(low["qps"]) + share * math.log(high["qps"])), "interpolated"


def cell(points, target):
    qps, kind = qps_at(points, target)
    return {"never": "never", "floor": f"≥ {qps or 0:,.0f}"}.get(kind, f"{qps or 0:,.0f}")


def row(contestant, rows):
    points, build, load = contestant["points"], contestant["build"], contestant["load"]
    resident = load.get("resident_bytes")
    figures = [
        f"{build['build_s']:.1f}" if build else "-",
        f"{build['peak_bytes'] / 1e6:,.0f}" if build else "-",
        f"{build['index_bytes'] / rows:,.0f}" if build else "-",
        ("≤ " if load.get("whole_process") else "") + f"{resident / rows:,.0f}" if resident else "-",
        *(cell(points, target) if points else "-" for target in TARGETS),
        f"{max(p['recall'] for p in points):.4f}" if points else "-",
    ]
    return f"| {contestant['label']} | " + " | ".join(figures) + " |"


def spread(result):
    """Median over all points of (highest - lowest) / median QPS: how noisy the machine was."""
    runs = [p["qps_runs"] for c in result["contestants"] for p in c["points"] if len(p["qps_runs"]) > 1]
    ratios = sorted((max(r) - min(r)) / sorted(r)[len(r) // 2] for r in runs)
    return ratios[len(ratios) // 2] if ratios else None


def table(result):
    machine, rows = result["machine"], result["rows"]
    noise = spread(result)
    heads = ["", "build s", "build peak MB", "file B/vector", "memory B/vector",
             *(f"QPS @{target:g}" for target in TARGETS), "ceiling"]  # fmt: skip
    lines = [
        f"## {result['dataset']}: {rows:,} x {result['dimensions']}, {result['metric']}, recall@{result['k']}",
        "",
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores. One search thread, "
        f"{result['build_threads']} build threads, {result['queries']:,} queries, "
        f"median of {result['repeats']} interleaved repeats, load average {result['load_average_before']:.1f} before"
        + (f"; half of the points spread over less than {noise:.0%} between repeats." if noise else "."),
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *(row(contestant, rows) for contestant in result["contestants"]),
        "",
        "QPS is interpolated between the points of the sweep; ≥: the smallest ef is already past that recall; "
        "ceiling: the highest recall of the sweep. Memory ≤: peak of the whole process. "
        "Recall is tie-aware (see README.md).",
    ]
    if result["failures"]:
        lines += ["", "Not complete:", *(f"- {label}: {reason}" for label, reason in result["failures"].items())]
    return "\n".join(lines) + "\n"


def stretch(recall, limit):
    """Nines: 0.9 -> 1, 0.99 -> 2. Recall 1 is drawn at the edge."""
    return -math.log10(max(1 - recall, 10**-limit))


def axis_range(points):
    lowest = min(p["recall"] for p in points)
    highest = max((p["recall"] for p in points if p["recall"] < 1), default=0.999)
    return max(0.0, stretch(max(lowest, 0.7), 9) - 0.05), min(stretch(highest, 9), 4.0) + 0.15


def draw(axes, contestants, limit):
    seen = {}
    for contestant in contestants:
        points = frontier(contestant["points"])
        if not points:
            continue
        rival = contestant["rival"]
        number = seen[rival] = seen.get(rival, -1) + 1
        ours = rival == "shortlist"
        axes.plot(
            [min(stretch(p["recall"], 9), limit) for p in points],
            [p["qps"] for p in points],
            color=COLORS.get(rival, "black"),
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=2.6 if ours else 1.5,
            markersize=5 if ours else 3.5,
            zorder=5 if ours else 3,
            label=contestant["label"],
        )


def dress(axes, left, right):
    ticks = [t for t in (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)]
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(FixedLocator([t for t in map(lambda t: stretch(t, 9), ticks) if left <= t <= right]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{1 - 10**-x:.5g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def plot(result, stem):
    shown = [c for c in result["contestants"] if c["points"]]
    if not shown:
        return
    left, right = axis_range([p for c in shown for p in c["points"]])
    with pyplot.rc_context({"font.size": 11, "svg.fonttype": "path", "svg.hashsalt": "rivals"}):
        figure, axes = pyplot.subplots(figsize=(11, 6.2), layout="constrained")
        draw(axes, shown, right - 0.08)
        dress(axes, left, right)
        visible = [p["qps"] for c in shown for p in c["points"] if stretch(p["recall"], 9) >= left]
        axes.set_ylim(min(visible) / 1.15, max(visible) * 1.15)
        axes.set_xlabel(f"recall@{result['k']}  (better →, scale stretched towards 1)")
        axes.set_ylabel("queries a second, one thread  (better ↑)")
        axes.set_title(
            f"{result['dataset']}: {result['rows']:,} x {result['dimensions']}, {result['metric']}",
            loc="left", fontweight="bold",
        )  # fmt: skip
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=10)
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(stem.with_suffix(".png"), dpi=130)
        pyplot.close(figure)


def write(result, stem):
    """Write stem.md, stem.svg and stem.png; return the table."""
    text = table(result)
    stem.with_suffix(".md").write_text(text)
    plot(result, stem)
    return text
