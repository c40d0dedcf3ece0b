"""A table as headings and cells, and its forms for readers: text and Markdown. LaTeX is in `sync_eval.latex`."""

import io
import re
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Mark = Literal["", "best", "second"]
"""How a number stands out."""

TEXT_MARKS: dict[Mark, str] = {"": "", "best": "●", "second": "○"}
"""Written before a number in plain text, so that digits stay below one another."""

MARKED = "Bold is best and underlined second best"
"""What the marks mean where letters can be set so."""

_STYLES: dict[Mark, str] = {"": "", "best": "bold", "second": "underline"}
_BAR = "│"
_MARKDOWN = re.compile(r"([\\|<\[\]*`~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown reads as its own; an underscore is that only at the edge of a word."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A heading above the last columns, which are set apart from those before."""

    heading: str
    num_columns: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table as headings and cells, without a file form."""

    headings: tuple[str, ...]
    num_names: int
    """Columns before the numbers."""
    cells: tuple[tuple[str, ...], ...]
    block_ends: tuple[bool, ...]
    """For each row, whether a line follows it."""
    footnotes: tuple[str, ...]
    marks: tuple[tuple[Mark, ...], ...] | None = None
    """A mark for each of the cells; None where the table marks nothing."""
    span: Span | None = None
    """Of the last columns."""
    title: str = ""
    ranked: str = ""
    """Among what a marked cell is best, for the footnote."""

    def mark(self, row: int, column: int) -> Mark:
        """How a cell stands out."""
        return self.marks[row][column] if self.marks else ""

    def notes(self, marked: str) -> tuple[str, ...]:
        """The footnotes, with what the marks mean."""
        return (f"{marked} {self.ranked}.", *self.footnotes) if self.marks else self.footnotes

    @property
    def bar(self) -> int | None:
        """The first column below the span."""
        return None if self.span is None else len(self.headings) - self.span.num_columns


def as_text(layout: Layout, width: int | None = None, *, styled: bool = False) -> str:
    """A table for terminals and plain text.

    Args:
        layout: The table.
        width: Columns of the terminal; by default the table is as wide as it needs to be.
        styled: Set the best in bold and the second best underlined, as escape codes for a terminal, instead of
            writing a sign before them.
    """
    out = io.StringIO()
    console = Console(
        file=out, width=10_000, color_system="standard" if styled else None, force_terminal=styled
    )
    table = _rich_table(layout, styled)
    widest = Measurement.get(console, console.options, table).maximum
    if width is None:
        width = widest
    elif width < widest:
        table = _rich_table(layout, styled, stacked=True)
    console.print(table, width=width)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    marked = MARKED if styled else "● is best and ○ second best"
    return "\n".join([*_text_head(layout, lines[0]), *lines, "", *layout.notes(marked)]) + "\n"


def as_markdown(layout: Layout) -> str:
    """A GitHub-flavoured Markdown table, names escaped; the best is bold, the second best underlined."""
    headings = [markdown_escaped(heading) for heading in layout.headings]
    rule = ["---" if index < layout.num_names else "---:" for index in range(len(headings))]
    rows = [
        [_markdown_cell(cell, layout.mark(row, column)) for column, cell in enumerate(cells)]
        for row, cells in enumerate(layout.cells)
    ]
    if layout.span is not None and layout.bar is not None:
        # Markdown has one line of headings, so that of the span stands in a column of its own
        headings.insert(layout.bar, f"{markdown_escaped(layout.span.heading)}:")
        rule.insert(layout.bar, "---")
        for cells in rows:
            cells.insert(layout.bar, "")
    table = "".join(f"| {' | '.join(line)} |\n" for line in (headings, rule, *rows))
    title = f"**{markdown_escaped(layout.title)}**\n\n" if layout.title else ""
    return title + table + "".join(f"\n{markdown_escaped(note)}\n" for note in layout.notes(MARKED))


def markdown_escaped(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.splitlines()))


def _rich_table(layout: Layout, styled: bool, *, stacked: bool = False) -> Table:
    """The table for the console; where it must be narrow, deviations are `stacked` below their means."""
    rows = [_text_cells(layout, row, styled, stacked) for row in range(len(layout.cells))]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, heading in enumerate(layout.headings):
        if index == layout.bar:
            table.add_column(_BAR)
        if index < layout.num_names:
            table.add_column(Text(heading), overflow="fold", no_wrap=True)
        else:
            lines = [line for cells in rows for line in cells[index].plain.split("\n")]
            least = max(map(len, (heading, *lines)))
            table.add_column(Text(heading), overflow="fold", justify="right", min_width=least)
    for cells, block_end in zip(rows, layout.block_ends, strict=True):
        if layout.bar is not None:
            cells.insert(layout.bar, Text(_BAR))
        table.add_row(*cells, end_section=block_end)
    return table


def _text_cells(layout: Layout, row: int, styled: bool, stacked: bool) -> list[Text]:
    # Text, not str: names such as "[red]" are shown as they are
    cells = []
    for column, cell in enumerate(layout.cells[row]):
        mark = layout.mark(row, column)
        shown = cell.replace(" ± ", "\n± ") if stacked and column >= layout.num_names else cell
        # assembled, so that the spaces before a number aren't underlined
        cells.append(Text.assemble((shown, _STYLES[mark])) if styled else Text(f"{TEXT_MARKS[mark]}{shown}"))
    return cells


def _text_head(layout: Layout, heading_line: str) -> list[str]:
    """Title, and the span's heading above its columns."""
    head = [layout.title, ""] if layout.title else []
    if layout.span is not None:
        start = _without_codes(heading_line).rindex(_BAR)
        head.append(f"{' ' * start}{_BAR} {layout.span.heading}")
    return head


def _without_codes(line: str) -> str:
    return Text.from_ansi(line).plain


def _markdown_cell(cell: str, mark: Mark) -> str:
    escaped = markdown_escaped(cell)
    if mark == "best":
        return f"**{escaped}**"
    return f"<u>{escaped}</u>" if mark == "second" else escaped
