"""From raw rounds to medians and ratios."""

from statistics import median

from .plan import PAIRS

Rounds = list[dict[tuple[str, str], dict]]


def index_rounds(raw_rounds: list[dict]) -> Rounds:
    """Per round: the measurement of each (device, workload)."""
    return [{(cell["device"], cell["workload"]): cell for cell in raw["cells"]} for raw in raw_rounds]


def workload_labels(rounds: Rounds) -> list[str]:
    return list(dict.fromkeys(workload for _, workload in rounds[0]))


def device_names(rounds: Rounds) -> list[str]:
    return list(dict.fromkeys(device for device, _ in rounds[0]))


def median_of(rounds: Rounds, device: str, workload: str, figure: str) -> float | None:
    values = [cells[device, workload].get(figure) for cells in rounds]
    return None if None in values else median(values)


def ratio_of(rounds: Rounds, ours: str, peer: str, workload: str) -> dict[str, float]:
    """The ratio of the medians; least and greatest ratio of the two within one round tell its spread."""
    single = [cells[ours, workload]["iops"] / cells[peer, workload]["iops"] for cells in rounds]
    middle = median_of(rounds, ours, workload, "iops") / median_of(rounds, peer, workload, "iops")
    return {"median": round(middle, 3), "min": round(min(single), 3), "max": round(max(single), 3)}


def compute_ratios(rounds: Rounds) -> dict[str, dict[str, float]]:
    present = device_names(rounds)
    return {
        f"{ours}/{peer} {workload}": ratio_of(rounds, ours, peer, workload)
        for ours, peer in PAIRS
        for workload in workload_labels(rounds)
        if ours in present and peer in present
    }
