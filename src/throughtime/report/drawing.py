"""Matplotlib figures as inline SVG that follows the page's theme.

Matplotlib draws in placeholder colours, one for each role (ink, network, baseline...). The finished SVG is parsed and
each placeholder becomes a CSS variable, so that one drawing serves the light page, the dark page and paper. Ids are
dropped unless referred to and then prefixed with the figure's name: two SVGs in one page must not share clip paths.
Text stays text, in the page's font; it is laid out with the metrics of DejaVu Sans, which is wider than the fonts that
replace it, so labels get room to spare rather than too little.

Only Matplotlib's object interface is used, inside `rc_context`: the user's own settings and figures are not touched.
`rc_context` is not thread-safe, so one picture is drawn at a time.
"""

from __future__ import annotations

import io
import re
import threading
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from . import numbers

_DRAWING = threading.Lock()
WIDTH = 380  # pixels of the viewBox: close to a phone's width, so that 12 px of text is still 11 px there
ROLES = (
    "ink", "muted", "rule", "card", "band", "network", "baseline1", "baseline2", "baseline3", "right", "wrong",
)  # fmt: skip
COLOUR = {role: f"#0a5e{index:02x}" for index, role in enumerate(ROLES)}
_ROLE = {colour: role for role, colour in COLOUR.items()}
# Told apart by dash as well as by hue, for print in grey and for eyes that do not see the hue.
BASELINES = (("baseline1", (5, 2.5)), ("baseline2", (1.5, 2)), ("baseline3", (7, 2, 1.5, 2)))

_SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "throughtime", "text.parse_math": False, "path.simplify": False,
    "font.size": 12, "axes.labelsize": 12, "xtick.labelsize": 11.5, "ytick.labelsize": 11.5,
    "text.color": COLOUR["ink"], "axes.edgecolor": COLOUR["rule"], "axes.labelcolor": COLOUR["muted"],
    "xtick.color": COLOUR["rule"], "ytick.color": COLOUR["rule"],
    "xtick.labelcolor": COLOUR["muted"], "ytick.labelcolor": COLOUR["muted"],
    "axes.linewidth": 1, "xtick.major.size": 4, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
    "grid.color": COLOUR["rule"], "grid.linewidth": 0.8,
    "lines.linewidth": 1.8, "lines.solid_joinstyle": "round", "lines.solid_capstyle": "round",
    "lines.dash_capstyle": "butt", "lines.scale_dashes": False, "axes.xmargin": 0.02, "axes.ymargin": 0.08,
}  # fmt: skip


@dataclass(frozen=True)
class Stroke:
    """An entry of a figure's key: which line is which."""

    name: str
    role: str
    dashes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A finished picture: the SVG, and the words that stand around it in HTML."""

    title: str
    svg: str
    alt: str
    key: tuple[Stroke, ...] = ()
    note: str = ""


@dataclass
class Canvas:
    """What a picture is drawn on. ``svg`` is filled in when the `canvas` block ends."""

    figure: Any
    axes: Any
    width: int
    height: int
    svg: str = ""
    own_ticks: set[str] = field(default_factory=set)

    def line(self, x: Any, y: Any, role: str, *, dashes: Sequence[float] = (), **style: Any):
        """A line in the colour of ``role``; a point without finite neighbours is a dot, or it would not be seen."""
        import numpy as np

        y = np.asarray(y, float)
        known = np.concatenate([[False], np.isfinite(y), [False]])
        alone = np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])
        (drawn,) = self.axes.plot(x, y, color=COLOUR[role], **style)
        if dashes:
            drawn.set_dashes(dashes)
        if alone.size:
            self.axes.plot(np.asarray(x, float)[alone], y[alone], "o", color=COLOUR[role], markersize=5)


@contextmanager
def canvas(name: str, *, height: int, blank: bool = False, bottom: int = 26, right: int = 14) -> Iterator[Canvas]:
    """A figure `WIDTH` pixels wide whose SVG has ids that begin with ``name``.

    With ``blank`` the axes are the figure's pixels, (0, 0) at the top left, and nothing is drawn unasked.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with _DRAWING, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # the browser has it
        warnings.filterwarnings("ignore", message="AutoDateLocator was unable", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        if blank:
            axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
            axes.set_axis_off()
        else:
            axes = figure.add_axes((0.1, bottom / height, 0.8, 1 - (bottom + 8) / height))
        drawn = Canvas(figure, axes, WIDTH, height)
        yield drawn
        if not blank:
            _label_ticks(drawn, right)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True, dpi=72)
    drawn.svg = themed(buffer.getvalue(), name)


def _label_ticks(canvas: Canvas, right: int) -> None:
    """Writes the tick labels and gives the left margin what they need."""
    axes = canvas.axes
    for side, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if side in canvas.own_ticks:
            continue
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        places = [float(place) for place in axis.get_majorticklocs() if low - slack <= place <= high + slack]
        logarithmic = axis.get_scale() == "log"
        labels = [numbers.number(place, 1) for place in places] if logarithmic else numbers.ticks(places)
        axis.set_ticks(places, labels=labels)
        axis.set_ticks([], minor=True)
    widest = max((len(label.get_text()) for label in axes.get_yticklabels()), default=0)
    left = min(12 + 7 * widest, 110)
    box = axes.get_position()
    axes.set_position((left / WIDTH, box.y0, 1 - (left + right) / WIDTH, box.height))


def words(text: Any, limit: int) -> str:
    """``text`` on one line, without control characters, its middle left out where it is longer than ``limit``."""
    kept = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in str(text))
    kept = " ".join(kept.split())
    if len(kept) <= limit:
        return kept
    tail = (limit - 1) // 3
    return f"{kept[: limit - 1 - tail].rstrip()}…{kept[len(kept) - tail :].lstrip()}"


def themed(svg: str, name: str) -> str:
    """Matplotlib's SVG document as an element for an HTML page: no prolog, no namespaces, colours as CSS variables."""
    root = ElementTree.fromstring(svg)
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    for parent in root.iter():
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            # Matplotlib's own style sheet is for `*`: inlined, it would restyle the page.
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tail = None
        if element.tag != "text":
            element.text = None
        attributes = dict(element.attrib)
        element.attrib.clear()
        for key, value in attributes.items():
            key = key.rpartition("}")[2]
            if key == "id":
                if value not in referred:
                    continue
                value = f"{name}-{value}"
            elif key == "href":
                value = f"#{name}-{value[1:]}"
            elif key == "clip-path":
                value = value.replace("#", f"#{name}-")
            elif key == "style":
                value = re.sub(r"font-family:[^;]*;? ?", "", value)
                value = re.sub(r"#0a5e[0-9a-f]{2}", lambda found: f"var(--{_ROLE[found[0]]})", value)
            elif key in ("d", "x", "y", "transform"):
                value = re.sub(r"-?\d+\.\d+", _shorter, " ".join(value.split()))
            element.set(key, value)
    for needless in ("width", "height", "version"):
        root.attrib.pop(needless, None)
    return ElementTree.tostring(root, encoding="unicode")


def _shorter(found: re.Match[str]) -> str:
    text = f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
