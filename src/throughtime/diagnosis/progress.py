"""How far a check, a repair or a comparison of cuts is: a bar on a terminal, gone at its end, and nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[str, int], None]  # what is done now, and how many steps were done since the last call


@contextmanager
def show_progress(what: str, total: int, *, wanted: bool = True) -> Iterator[Tell]:
    """A bar on stderr, while it is a terminal.

    Args:
        what: the word before the bar.
        total: steps in all.
        wanted: False for no bar in any case.

    Example:
        >>> with show_progress("check", 2) as tell:
        ...     tell("first", 1)
        ...     tell("second", 1)
    """
    if not wanted or not sys.stderr.isatty():
        yield lambda said, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda said, done: bar.update(task, description=said, advance=done)
        bar.update(task, completed=total)  # what turned out not to be needed is done as well
