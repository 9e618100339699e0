"""The plot of recall and speed."""

from pathlib import Path

from akidb.bench.search.stage import Point


def plot(path: Path, curves: dict[str, list[Point]], title: str) -> None:
    """Draw recall@10 against searches per second; the format is that of the file's suffix.

    Raises ImportError if matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for engine, points in curves.items():
        recalls, rates = [point.recall for point in points], [point.rate for point in points]
        axes.plot(recalls, rates, marker="o", markersize=4, label=engine)
    axes.set_yscale("log")
    axes.set_xlabel("recall@10")
    axes.set_ylabel("searches per second, 1 thread")
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
