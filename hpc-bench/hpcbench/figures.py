"""The pictures of a report, made to be read from the last row of a lecture hall."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from hpcbench.analysis import Run
from hpcbench.numbers import per_second
from hpcbench.summary import backlog, cpu_seconds, service_parts, stage_s, window

INK, FAINT, GRID = "#1d2733", "#66758a", "#e3e8ef"
STAGE_COLOURS = {
    "put": "#9aa7b8",
    "notified": "#4c9be8",
    "stored": "#8a63d2",
    "visible": "#e4572e",
    "readable": "#2a9d8f",
}
STAGE_WORDS = {
    "put": "PUT itself",
    "notified": "notification out",
    "stored": "content stored",
    "visible": "in a signed revision",
    "readable": "read by a client",
}
PART_COLOURS = (
    "#e4572e", "#4c9be8", "#8a63d2", "#2a9d8f", "#f2b134", "#d16ba5", "#5b6b7f", "#8fbf5a", "#b08968", "#60c5c0",
)  # fmt: skip
OTHERS = "#cfd6df"
CURVE_POINTS = 500
QUIET_BEFORE_S = 10.0
"""How much is shown of what was before the first upload."""

mpl.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 13,
        "axes.edgecolor": GRID,
        "axes.labelcolor": FAINT,
        "axes.titlesize": 16,
        "axes.titleweight": "bold",
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlepad": 14,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "text.color": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "legend.frameon": False,
        "figure.facecolor": "white",
        "svg.fonttype": "none",
        "svg.hashsalt": "hpc-bench",
    }
)


def figures(run: Run) -> dict[str, Figure]:
    """All pictures that a run has data for, by file name."""
    makers: dict[str, Callable[[Run], Figure | None]] = {
        "latency": latency,
        "throughput": throughput,
        "queues-and-instances": queues_and_instances,
        "cpu": cpu,
        "memory": memory,
    }
    made = {name: make(run) for name, make in makers.items()}
    return {name: figure for name, figure in made.items() if figure is not None}


def svg(figure: Figure) -> str:
    """The picture as an element to put into a page, in one line: matplotlib begins one for each number."""
    page = io.StringIO()
    figure.savefig(page, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = page.getvalue()
    return " ".join(text[text.index("<svg") :].split())


def save(made: dict[str, Figure], folder: Path) -> None:
    """One PNG for each, as wide as a slide; few colours make them a fifth of the size."""
    for name, figure in made.items():
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=140, bbox_inches="tight")
        Image.open(picture).convert("RGB").quantize(64).save(folder / f"{name}.png", optimize=True)


def latency(run: Run) -> Figure | None:
    """For each stage, which share of the uploads had reached it so many seconds after their PUT had returned."""
    figure, axes = plt.subplots(figsize=(11, 5.2))
    medians = []
    for stage in ("notified", "stored", "visible", "readable"):
        times = sorted(max(seconds, 0.001) for each in run.puts if (seconds := stage_s(each, stage)) is not None)
        if not times:
            continue
        medians.append(times[len(times) // 2])
        shares = [(number + 1) / len(times) for number in range(len(times))]
        points = _thinned(list(zip(times, shares, strict=True)), CURVE_POINTS)
        axes.step(*_columns(points), where="post", color=STAGE_COLOURS[stage], linewidth=3, label=STAGE_WORDS[stage])
        if stage == "visible":
            _mark(axes, times, shares)
    if not medians:
        plt.close(figure)
        return None
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_seconds))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("after the PUT had returned")
    axes.set_title("From PUT to every worker node")
    low, high = axes.get_xlim()
    rises_late = sum(median**2 > low * high for median in medians) * 2 >= len(medians)
    axes.legend(loc="upper left" if rises_late else "lower right")
    return figure


def throughput(run: Run) -> Figure | None:
    """Uploads per second as they come in and as they become visible, and how many are on their way."""
    if not run.uploads:
        return None
    begin, _ = window(run)
    end = max(max(each.end, each.visible or each.end) for each in run.uploads)
    bin_s = _bin(end - begin, len(run.uploads))
    figure, (rates, way) = plt.subplots(2, 1, figsize=(11, 6.6), sharex=True, height_ratios=(3, 2))
    at = [number * bin_s for number in range(len(per_second([], begin, end, bin_s)))]
    put = per_second((each.end for each in run.uploads), begin, end, bin_s)
    seen = per_second((each.visible for each in run.uploads if each.visible is not None), begin, end, bin_s)
    rates.fill_between(at, put, step="post", color=STAGE_COLOURS["notified"], alpha=0.35, linewidth=0)
    rates.step(at, put, where="post", color=STAGE_COLOURS["notified"], linewidth=2.5, label="uploaded")
    rates.step(at, seen, where="post", color=STAGE_COLOURS["visible"], linewidth=2.5, label="visible")
    rates.set_ylabel("per second")
    rates.set_ylim(bottom=0)
    rates.set_title("Uploads over time")
    rates.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    events = sorted(
        [(each.end - begin, 1) for each in run.uploads if each.visible is not None]
        + [(max(each.visible, each.end) - begin, -1) for each in run.uploads if each.visible is not None]
    )
    count = 0
    curve: list[tuple[float, float]] = [(0.0, 0.0)]
    for moment, step in events:
        count += step
        curve.append((moment, count))
    xs, ys = _columns(_thinned(curve, CURVE_POINTS))
    way.fill_between(xs, ys, step="post", color="#f2b134", alpha=0.6, linewidth=0)
    way.set_ylabel("not visible yet")
    way.set_xlabel("seconds since the first PUT")
    way.set_ylim(bottom=0)
    way.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.align_ylabels()
    return figure


def queues_and_instances(run: Run) -> Figure | None:
    """Messages that wait, and how many instances of each function run: from none to some to none."""
    if not run.lines["instances"]:
        return None
    begin, end = window(run)
    figure, (waiting, instances) = plt.subplots(2, 1, figsize=(11, 6.6), sharex=True, height_ratios=(2, 3))
    steps = ("handle-bucket-notification", "publish-transaction")
    queued = backlog(run)
    for number, step in enumerate(steps):
        points = [(at - begin, float(count)) for at, count in queued[step] if at <= end]
        waiting.step(*_columns(points), where="post", color=PART_COLOURS[number], linewidth=2.5, label=step)
    waiting.set_ylabel("messages")
    waiting.set_title("Queues, and functions from zero and back")
    waiting.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    waiting.set_ylim(0, max([count for step in steps for _, count in queued[step]] + [4]) * 1.5)
    waiting.legend(loc="upper right", fontsize=11, ncols=2)
    instances.set_xlim(left=-QUIET_BEFORE_S, right=end - begin)
    ran = {name for line in run.lines["instances"] for name, counts in line["services"].items() if counts[0]}
    names = sorted(ran - {"gateway"})
    names.sort(key=lambda name: (*(step != name for step in steps), name))
    bottoms = [0] * len(run.lines["instances"])
    times = [line["at"] - begin for line in run.lines["instances"]]
    for number, name in enumerate(names):
        counts = [line["services"][name][0] for line in run.lines["instances"]]
        tops = [low + count for low, count in zip(bottoms, counts, strict=True)]
        instances.fill_between(times, bottoms, tops, step="post", color=PART_COLOURS[number], linewidth=0, label=name)
        bottoms = tops
    instances.set_ylabel("instances")
    instances.set_xlabel("seconds since the first PUT")
    instances.yaxis.set_major_locator(MaxNLocator(integer=True))
    instances.set_ylim(0, max([*bottoms, 1]) * 1.45)
    instances.legend(loc="upper right", fontsize=11, ncols=2)
    figure.align_ylabels()
    return figure


def cpu(run: Run) -> Figure | None:
    """Cores in use by each component, and by processes that do not belong to the run."""
    begin, _ = window(run)
    end = max((each.visible or each.end for each in run.uploads), default=begin)
    samples = _thinned([line for line in run.lines["sample"] if begin - 5 <= line["at"] <= end + 5], 400)
    if len(samples) < 3:
        return None
    spent = cpu_seconds(run, samples[0]["at"], samples[-1]["at"])
    names = [name for name, _ in sorted(spent.items(), key=lambda item: -item[1])][:9]
    times: list[float] = []
    others: list[float] = []
    rows: dict[str, list[float]] = {name: [] for name in [*names, "rest"]}
    for before, after in pairwise(samples):
        span = after["at"] - before["at"]
        used = {
            name: max(0.0, part["cpu_s"] - before["parts"].get(name, {"cpu_s": 0.0})["cpu_s"]) / span
            for name, part in after["parts"].items()
        }
        times.append(after["at"] - begin)
        for name in names:
            rows[name].append(used.pop(name, 0.0))
        rows["rest"].append(sum(used.values()))
        others.append(max(0.0, (after["busy_s"] - before["busy_s"]) / span - sum(row[-1] for row in rows.values())))
    figure, axes = plt.subplots(figsize=(11, 5.2))
    layers = [*rows.values(), others]
    axes.stackplot(
        times, layers, labels=[*map(_short, rows), "other processes"], colors=[*PART_COLOURS[:9], "#aab4c0", OTHERS]
    )
    cores = round((samples[-1]["all_s"] - samples[0]["all_s"]) / (samples[-1]["at"] - samples[0]["at"]))
    axes.axhline(cores, color=INK, linewidth=1.5, linestyle="--")
    axes.set_ylim(0, cores * 1.08)
    axes.set_ylabel("cores")
    axes.set_xlabel("seconds since the first PUT")
    axes.set_title(f"Processor: who uses the {cores} cores")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=11, reverse=True)
    return figure


def memory(run: Run) -> Figure | None:
    """Largest memory of each component, and of one instance of each function against the promise."""
    most: dict[str, float] = {}
    single: dict[str, float] = {}
    for line in run.lines["sample"]:
        for name, part in line["parts"].items():
            most[name] = max(most.get(name, 0.0), part["rss"] / 1e6)
            for size in part.get("instances", ()):
                single[name] = max(single.get(name, 0.0), size / 1e6)
    most = {
        name: size for name, size in most.items() if name in service_parts(most) and not name.startswith("function")
    }
    if not most:
        return None
    bars = sorted(
        [(f"{_short(name)}, one instance", size, "#e4572e") for name, size in single.items()]
        + [(name, size, "#4c9be8") for name, size in most.items()],
        key=lambda bar: bar[1],
    )
    figure, axes = plt.subplots(figsize=(11, 0.5 * len(bars) + 1.6))
    drawn = axes.barh([bar[0] for bar in bars], [bar[1] for bar in bars], color=[bar[2] for bar in bars], height=0.66)
    axes.bar_label(drawn, fmt="%.0f MB", padding=6, color=INK, fontsize=12)
    axes.axvline(200, color=INK, linewidth=1.5, linestyle="--")
    axes.text(203, len(bars) - 0.42, "200 MB: most for one function", va="bottom", fontsize=11, color=INK)
    for label in axes.texts:
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    axes.set_xlim(0, max(240.0, bars[-1][1] * 1.15))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("MB, largest during the run")
    axes.set_title("Memory", pad=30)
    return figure


def comparison(summaries: Sequence[dict[str, Any]]) -> Figure | None:
    """PUT to visible of several runs side by side: median, and up to the 99th percentile."""
    rows = [(_title(each), each["stages"]["visible"]) for each in summaries if each["stages"].get("visible")]
    if len(rows) < 2:
        return None
    rows.reverse()
    figure, axes = plt.subplots(figsize=(11, 0.75 * len(rows) + 1.8))
    for place, (name, times) in enumerate(rows):
        colour = "#aab4c0" if "polling" in name else STAGE_COLOURS["visible"]
        low, high = max(times["p50"], 0.01), max(times["p99"], 0.011)
        axes.plot([low, high], [place, place], color=colour, linewidth=9, solid_capstyle="round", alpha=0.45)
        axes.plot([low], [place], "o", color=colour, markersize=13)
        axes.annotate(
            f"{_seconds(low)}  to  {_seconds(high)}",
            (high, place),
            xytext=(12, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], color=INK)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_seconds))
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.set_title("PUT to visible: median (dot) to 99th percentile")
    return figure


def cost(summary: dict[str, Any]) -> Figure | None:
    """CPU seconds of each component for 1,000 files."""
    parts = sorted(
        ((name, s) for name, s in summary["cpu_s_per_1000_files"].items() if s >= 0.05), key=lambda part: part[1]
    )
    if not parts:
        return None
    figure, axes = plt.subplots(figsize=(11, 0.5 * len(parts) + 1.4))
    drawn = axes.barh([_short(name) for name, _ in parts], [s for _, s in parts], color="#8a63d2", height=0.66)
    axes.bar_label(drawn, fmt="%.1f s", padding=6, color=INK, fontsize=12)
    axes.set_xlim(0, parts[-1][1] * 1.15)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("CPU seconds")
    axes.set_title(f"Cost of 1,000 files: {sum(s for _, s in parts):.0f} CPU seconds in all")
    return figure


def _mark(axes: Axes, times: Sequence[float], shares: Sequence[float]) -> None:
    for share in (0.5, 0.99):
        place = next(number for number, reached in enumerate(shares) if reached >= share)
        axes.plot([times[place]], [share], "o", color=STAGE_COLOURS["visible"], markersize=10, zorder=5)
        axes.annotate(
            f"{share:.0%}: {_seconds(times[place])}",
            (times[place], share),
            xytext=(12, -18),
            textcoords="offset points",
            color=STAGE_COLOURS["visible"],
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )


def _seconds(value: float, _: object = None) -> str:
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 10 and value != round(value) else f"{value:,.0f} s"


def _short(name: str) -> str:
    return name.removeprefix("function ").replace("_", "-")


def _title(summary: dict[str, Any]) -> str:
    scale = "" if summary["scale"] == 1 else f" at scale {summary['scale']:g}"
    return f"{summary['scenario']}{scale}"


def _bin(seconds: float, count: int) -> float:
    """Seconds in a bin: at most 120 bins, with three uploads in each on average."""
    sizes = (0.5, 1, 2, 5, 10, 30, 60)
    return next((size for size in sizes if seconds / size <= 120 and count * size >= 3 * seconds), 300.0)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _thinned(lines: Sequence[Any], most: int) -> list[Any]:
    """Every so-manieth and the last."""
    step = max(1, len(lines) // most)
    return [*lines[:-1:step], *lines[-1:]]
