"""A table as LaTeX: a `tabular` with the rules of package booktabs.

Names are escaped so that they are printed as they are. Letters beyond Latin need an engine that reads UTF-8, such as
lualatex.
"""

import re

from sync_eval.table_forms import MARKED, Layout, Mark

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    # after the end of a row these would be read as arguments of \\
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "↔": r"$\leftrightarrow$",
    "×": r"$\times$",
    "…": r"\dots{}",
    "−": "$-$",
    "–": r"\textendash{}",
}
_JOINED = re.compile(r"([-',])(?=\1)")
"""Two of these in a row would be printed as another sign."""
_COMMANDS: dict[Mark, str] = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}


def as_latex(layout: Layout) -> str:
    r"""A `tabular` in a `table`; the document needs \usepackage{booktabs}."""
    num_columns = len(layout.headings)
    lines = [r"\begin{table}", r"\centering"]
    if layout.title:
        lines.append(rf"\caption{{{escaped(layout.title)}}}")
    lines += [
        rf"\begin{{tabular}}{{{'l' * layout.num_names}{'r' * (num_columns - layout.num_names)}}}",
        r"\toprule",
    ]
    lines += _span_lines(layout)
    lines += [_line([escaped(heading) for heading in layout.headings]), r"\midrule"]
    for row, (cells, block_end) in enumerate(zip(layout.cells, layout.block_ends, strict=True)):
        made = [_COMMANDS[layout.mark(row, index)].format(escaped(cell)) for index, cell in enumerate(cells)]
        lines += [_line(made), *[r"\midrule"] * (block_end and row + 1 < len(layout.cells))]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\raggedright\footnotesize {escaped(note)}" for note in layout.notes(MARKED)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    protected = "".join(_ESCAPES.get(sign, sign) for sign in " ".join(text.split()))
    return _JOINED.sub(r"\1{}", protected)


def _span_lines(layout: Layout) -> list[str]:
    if layout.span is None or layout.bar is None:
        return []
    above = rf"\multicolumn{{{layout.span.num_columns}}}{{c}}{{{escaped(layout.span.heading)}}}"
    return [
        f"{'& ' * layout.bar}{above} \\\\",
        rf"\cmidrule(lr){{{layout.bar + 1}-{len(layout.headings)}}}",
    ]


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
