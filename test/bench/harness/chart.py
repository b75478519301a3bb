"""The ratios as an SVG drawing: a dot for each ratio of medians, a line for the range of single rounds."""

from xml.sax.saxutils import escape

LABEL_WIDTH = 260
PLOT_WIDTH = 420
VALUE_WIDTH = 60
ROW_HEIGHT = 20
TOP = 56
BOTTOM = 20
STYLE = (
    "text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold;font-size:14px}.grid{stroke:#d0d7de}"
    ".even{stroke:#57606a;stroke-dasharray:4 3}.range{stroke-width:3;opacity:.45}"
    ".ahead{fill:#1a7f37;stroke:#1a7f37}.behind{fill:#bc4c00;stroke:#bc4c00}"
)


def nice_limit(ratios: dict[str, dict[str, float]]) -> float:
    """The right end of the axis: the least multiple of one half that shows every range."""
    greatest = max(ratio["max"] for ratio in ratios.values())
    return max(1.5, -(-greatest * 2 // 1) / 2)


def draw_chart(title: str, ratios: dict[str, dict[str, float]]) -> str:
    limit = nice_limit(ratios)
    height = TOP + ROW_HEIGHT * len(ratios) + BOTTOM
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    rows = [draw_row(index, key, ratio, limit) for index, (key, ratio) in enumerate(ratios.items())]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" class="title">{escape(title)}</text>',
        draw_axis(limit, height),
        *rows,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def to_x(value: float, limit: float) -> float:
    return round(LABEL_WIDTH + PLOT_WIDTH * value / limit, 1)


def draw_axis(limit: float, height: int) -> str:
    lines = []
    for half in range(int(limit * 2) + 1):
        x = to_x(half / 2, limit)
        style = "even" if half == 2 else "grid"
        lines.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - BOTTOM}" class="{style}"/>')
        lines.append(f'<text x="{x}" y="{TOP - 14}" text-anchor="middle">{half / 2:g}</text>')
    return "\n".join(lines)


def draw_row(index: int, key: str, ratio: dict[str, float], limit: float) -> str:
    y = TOP + ROW_HEIGHT * index + 10
    side = "ahead" if ratio["median"] >= 1 else "behind"
    low, middle, high = (to_x(ratio[name], limit) for name in ("min", "median", "max"))
    return (
        f'<text x="8" y="{y + 4}">{escape(key)}</text>'
        f'<line x1="{low}" x2="{high}" y1="{y}" y2="{y}" class="range {side}"/>'
        f'<circle cx="{middle}" cy="{y}" r="4.5" class="{side}"/>'
        f'<text x="{LABEL_WIDTH + PLOT_WIDTH + 12}" y="{y + 4}">{ratio["median"]:.2f}</text>'
    )
