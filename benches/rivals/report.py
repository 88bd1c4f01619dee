"""The tables and the plot of one result of run.py."""

import math
import statistics

import matplotlib

import contestants
from field import TARGETS

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: E402

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


# 0.975 quantile of Student's t by degrees of freedom, 1 to 30.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
           2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def paired_ratio(pairs):
    """(median ratio, lower and upper bound of the mean logarithm's 95 % interval)."""
    logs = [math.log(ours / theirs) for ours, theirs in pairs]
    if len(logs) < 2:
        return math.exp(logs[0]), None, None
    half = STUDENT[min(len(logs) - 1, 30) - 1] * statistics.stdev(logs) / math.sqrt(len(logs))
    mean = statistics.fmean(logs)
    return math.exp(statistics.median(logs)), math.exp(mean - half), math.exp(mean + half)


def point_at(points, target):
    """The measured point of the least ef that reaches the target."""
    return min((p for p in points if p["recall"] >= target), key=lambda p: p["ef"], default=None)


def cell(points, target):
    point = point_at(points, target)
    return f"{point['qps']:,.0f} ({point['ef']})" if point else "never"


def row(contestant, rows):
    points, build, load = contestant["points"], contestant["build"], contestant["load"]
    resident = load.get("resident_bytes")
    figures = [
        f"{build['index_bytes'] / rows:,.0f}" if build else "-",
        f"{resident / rows:,.0f}" if resident else "-",
        *(cell(points, target) if points else "-" for target in TARGETS),
        f"{contestant['ceiling']:.4f}" if contestant["ceiling"] else "-",
    ]
    return f"| {contestant['label']} | " + " | ".join(figures) + " |"


def spread(result):
    """Median over all points of (highest - lowest) / median QPS: how noisy the machine was."""
    runs = [p["qps_runs"] for c in result["contestants"] for p in c["points"] if len(p["qps_runs"]) > 1]
    ratios = sorted((max(r) - min(r)) / sorted(r)[len(r) // 2] for r in runs)
    return ratios[len(ratios) // 2] if ratios else None


def disturbed(result):
    """Share of the measurements during which others used more than half a processor, in spite of repeats."""
    shares = [share for c in result["contestants"] for share in c.get("disturbed", [])]
    return sum(share > contestants.QUIET for share in shares) / len(shares) if shares else 0


def never(result, target):
    """Rivals of which no setting reached the target."""
    reached, all_rivals = set(), {}
    for contestant in result["contestants"]:
        if contestant["rival"] != "shortlist" and contestant["ceiling"]:
            all_rivals.setdefault(contestant["rival"], contestant["ceiling"])
            all_rivals[contestant["rival"]] = max(all_rivals[contestant["rival"]], contestant["ceiling"])
            if contestant["ceiling"] >= target:
                reached.add(contestant["rival"])
    return [f"{rival} ({ceiling:.4f})" for rival, ceiling in all_rivals.items() if rival not in reached]


def duel_row(result, duel):
    target = duel["target"]
    missing = ", ".join(never(result, target)) or "-"
    if duel["rival"] is None:
        word = "no rival reaches it" if duel["reached"] else "Shortlist does not reach it"
        return f"| {target:g} | - | {word} | - | - | - | {missing} |"
    ratio, low, high = paired_ratio(duel["pairs"])
    ours, theirs = (statistics.median(column) for column in zip(*duel["pairs"]))
    interval = f"{low:.2f} to {high:.2f}" if low else "-"
    return (
        f"| {target:g} | {ours:,.0f} ({duel['ef'][0]}) | {duel['rival']}: {theirs:,.0f} ({duel['ef'][1]}) "
        f"| {ratio:.2f} | {interval} | {len(duel['pairs'])} | {missing} |"
    )


def header(heads):
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]


def table(result):
    machine, rows, threads = result["machine"], result["rows"], result["threads"]
    noise = spread(result)
    lines = [
        f"## {result['dataset']}: {rows:,} x {result['dimensions']}, {result['metric']}, recall@{result['k']}, "
        f"{threads} search thread{'s' if threads > 1 else ''}",
        "",
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores. {result['queries']:,} queries, "
        f"load average {result['load_average_before']:.1f} before"
        + (f"; half of the points spread over less than {noise:.0%} between rounds." if noise else "."),
        f"Others used more than half a processor during {disturbed(result):.0%} of the measurements.",
        "",
        "QPS (and ef) at the least ef that reaches a recall, Shortlist and the best rival one after the other; the ratio is the median "
        "of the pairs, the interval that of its mean with 95 %:",
        "",
        *header(["recall", "Shortlist", "best rival", "ratio", "95 %", "pairs", "never reach it (their ceiling)"]),
        *(duel_row(result, duel) for duel in result["duels"]),
        "",
        f"All, QPS (and ef), median of {result['rounds']} rounds:",
        "",
        *header(["", "file B/vector", "memory B/vector", *(f"@{target:g}" for target in TARGETS), "ceiling"]),
        *(row(contestant, rows) for contestant in result["contestants"]),
        "",
        "Ceiling: the highest recall up to ef 3200. Recall is tie-aware. Memory: what the process holds after the queries more than "
        "before it loaded the index.",
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
        points = contestant["points"]
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
        axes.set_ylabel(f"queries a second, {result['threads']} thread{'s' if result['threads'] > 1 else ''}  (better ↑)")
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
