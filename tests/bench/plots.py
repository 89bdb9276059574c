"""Draws the figures of `make bench` as SVG files (matplotlib)."""
import pathlib
import statistics

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "raftkv"  # the same figures make the same file
import matplotlib.pyplot as plt  # noqa: E402

NAMES = {"raftkv": "raftkv", "etcd": "etcd", "bare": "bare replication"}


def median(reports, field):
    return statistics.median(report[field] for report in reports)


def over_clients(rows, results, title, field, label, path):
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for system, name in NAMES.items():
        points = [(row.clients, median(results[index, system], field))
                  for index, row in enumerate(rows)
                  if row.title == title and (index, system) in results]
        if points:
            axes.plot(*zip(*points), marker="o", label=name)
    axes.set(xscale="log", xlabel="clients", ylabel=label, title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def latencies(rows, results, title, clients, path):
    """The share of operations in each power of two of latency, of all rounds together."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for system, name in NAMES.items():
        counts = {}
        for index, row in enumerate(rows):
            if row.title == title and row.clients == clients:
                for report in results.get((index, system), []):
                    for bar in report["histogram"]:
                        counts[bar["ms_max"]] = counts.get(bar["ms_max"], 0) + bar["count"]
        total = sum(counts.values())
        if total:
            points = sorted((ms, 100 * count / total) for ms, count in counts.items())
            axes.plot(*zip(*points), marker="o", label=name)
    axes.set(xscale="log", xlabel="latency of at most, ms", ylabel="% of operations",
             title=f"{title}, {clients} clients")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(rows, results, directory):
    """Writes the plots into `directory`/plots. Returns the Markdown lines that show them."""
    plots = pathlib.Path(directory) / "plots"
    plots.mkdir(exist_ok=True)
    lines = []
    for title, word in (("puts", "puts"), ("linearizable gets", "gets")):
        over_clients(rows, results, title, "ops_per_second", "operations a second",
                     plots / f"{word}-rate.svg")
        over_clients(rows, results, title, "p99_ms", "p99, ms", plots / f"{word}-p99.svg")
        latencies(rows, results, title, 256, plots / f"{word}-latency.svg")
        lines += [f"![{title}: operations a second](plots/{word}-rate.svg)",
                  f"![{title}: p99](plots/{word}-p99.svg)",
                  f"![{title}: latencies at 256 clients](plots/{word}-latency.svg)"]
    return lines
