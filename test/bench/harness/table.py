"""The report as Markdown."""

from .summary import Rounds, device_names, median_of, workload_labels


def markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(markdown_row(row) for row in [header, rule, *rows])


def format_figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def figure_table(rounds: Rounds, figure: str) -> str:
    workloads = workload_labels(rounds)
    rows = [
        [device, *(format_figure(median_of(rounds, device, workload, figure)) for workload in workloads)]
        for device in device_names(rounds)
    ]
    return markdown_table(["device", *workloads], rows)


def ratio_table(ratios: dict[str, dict[str, float]]) -> str:
    pairs = list(dict.fromkeys(key.split(" ", 1)[0] for key in ratios))
    workloads = list(dict.fromkeys(key.split(" ", 1)[1] for key in ratios))
    rows = [[pair, *(format_ratio(ratios[f"{pair} {workload}"]) for workload in workloads)] for pair in pairs]
    return markdown_table(["ours / peer", *workloads], rows)


def format_ratio(ratio: dict[str, float]) -> str:
    return f"**{ratio['median']:.2f}** ({ratio['min']:.2f}-{ratio['max']:.2f})"


def make_report(title: str, rounds: Rounds, ratios: dict[str, dict[str, float]]) -> str:
    sections = [
        (f"Ratios, {title}: IOPS of ours / IOPS of the peer, ratio of medians (range of single rounds)",
         ratio_table(ratios)),
        ("IOPS, median", figure_table(rounds, "iops")),
        ("Processor time of the server per I/O, microseconds, median", figure_table(rounds, "server_us_per_io")),
        ("Context switches of the whole guest per I/O, median", figure_table(rounds, "guest_switches_per_io")),
    ]
    return "\n\n".join(f"**{heading}**\n\n{table}" for heading, table in sections) + "\n"
