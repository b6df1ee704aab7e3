"""A ``Diagnosis`` for the terminal: what was found, how it is known, what to do, what follows; wrapped and coloured."""

from __future__ import annotations

import textwrap
from collections import Counter

from rich.text import Text

from .findings import SEVERITIES, Diagnosis

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_INDENT = 9  # as long as "warning" and two spaces


def printed(diagnosis: Diagnosis, *, width: int | None = None) -> Text:
    """The report as text with styles.

    Args:
        width: of the terminal; None for one line a statement, as another program wants to read it.
    """
    text = Text(no_wrap=True, overflow="ignore")
    for one in diagnosis.findings:
        text.append(one.severity.ljust(_INDENT), _STYLES[one.severity])
        text.append(one.code, "bold")
        text.append(f"  {one.layer}\n")
        text.append_text(_block("", one.evidence, width))
        text.append_text(_block("remedy", one.remedy, width, "green"))
        for sub in one.folded:
            text.append_text(_block("hence", f"{sub.code} ({sub.layer}): {sub.evidence}", width, "dim"))
        text.append("\n")
    counts = Counter(one.severity for one in diagnosis.findings)
    counted = [f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in SEVERITIES if counts[name]]
    text.append(f"{', '.join(counted) or 'nothing found'}\n", "bold" if counted else "bold green")
    seen = f"looked at {'; '.join(diagnosis.looked_at)} ({diagnosis.seconds:.1f} s)"
    for line in (seen, *(f"not looked at: {one}" for one in diagnosis.left_out)):
        text.append(f"{line if width is None else _wrapped(line, width, '  ')}\n", "dim")
    text.rstrip()
    return text


def _block(label: str, said: str, width: int | None, style: str = "") -> Text:
    text = Text().append(label.ljust(_INDENT), "dim")
    text.append(
        said if width is None else _wrapped(said, width - _INDENT, "").replace("\n", "\n" + " " * _INDENT), style
    )
    return text.append("\n")


def _wrapped(text: str, width: int, indent: str) -> str:
    """Codes and numbers stay whole: only spaces are broken at."""
    return textwrap.fill(
        text, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )  # fmt: skip
