"""Text, Markdown and LaTeX of one table, read back by readers that know nothing of how it was written."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sync_eval.latex import as_latex
from sync_eval.table_forms import Layout, Span, as_markdown, as_text

HOSTILE = (
    *(
        "[red]",
        "<b>x</b>",
        "a|b",
        "a\\|b",
        "*x*",
        "_x_",
        "__init__",
        "a_b_c",
        "~~x~~",
        "`x`",
        "&lt;",
        "&#42;",
        "\\",
    ),
    *(
        "x\\",
        "100 %",
        "$x^2$",
        "a & b",
        "#1",
        "{}",
        "}{",
        "\\end{tabular}",
        "\\input{x}",
        "a--b",
        "---",
        "''x''",
    ),
    *("`` ?` !`", ",,", "*", "[", "]", "~", "^", '"q"', "TCC*", "[-]", "[link](http://x)", "![i](x)", "'-'-"),
)

names = st.text(
    st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\\{}$&#_%~^<>|`'\"*[]-,†‡§±→↔×…–−"),
    min_size=1,
    max_size=12,
).filter(lambda name: name.split() == [name])


def layout_of(name: str) -> Layout:
    return Layout(
        title=f"{name} title",
        headings=("row", "Edit", "MoF", "MoF"),
        num_names=1,
        cells=((name, "1.00 ± 0.50", "–", "3.00"), ("other", "2.00", f"{name}", "−4.00")),
        block_ends=(True, False),
        footnotes=(f"note {name}",),
        marks=(("", "second", "", "best"), ("", "best", "", "second")),
        ranked="of all",
        span=Span(heading=f"paper {name}", num_columns=1),
    )


class Cells(HTMLParser):
    """Text and tags of each cell of an HTML table."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True
        elif tag not in ("table", "thead", "tbody"):
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def with_hostile_examples(test: object) -> object:
    for name in HOSTILE:
        test = example(name)(test)  # type: ignore[type-var]
    return test


@with_hostile_examples
@settings(deadline=None)
@given(names)
def test_markdown_shows_names_as_they_are(name: str) -> None:
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(as_markdown(layout_of(name)))
    table = page[page.index("<table>") : page.index("</table>")]
    cells = Cells(table)
    assert cells.rows == [
        ["row", "Edit", "MoF", f"paper {name}:", "MoF"],
        [name, "1.00 ± 0.50", "–", "", "3.00"],
        ["other", "2.00", name, "", "−4.00"],
    ]
    assert cells.tags == ["u", "strong", "strong", "u"], "no markup but the marks"
    title, *notes = re.findall(r"<p>(.*)</p>", page)
    assert title == f"<strong>{title[8:-9]}</strong>" and unescape(title[8:-9]) == f"{name} title"
    assert [unescape(note) for note in notes] == [
        "Bold is best and underlined second best of all.",
        f"note {name}",
    ]


COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textasciigrave": "`",
    "textendash": "–",
    "dots": "…",
    "dag": "†",
    "ddag": "‡",
    "S": "§",
}
MATHS = {r"\pm": "±", r"\rightarrow": "→", r"\leftrightarrow": "↔", r"\times": "×", "-": "−"}


def typeset(text: str) -> str:
    """What LaTeX prints for text without structure. Fails at all that it could take for something else."""
    out, braces, index = "", [], 0
    while index < len(text):
        rest = text[index:]
        if found := re.match(r"\\([{}$&#_%])", rest):
            out += found[1]
        elif found := re.match(r"\\(textbf|underline)\{", rest):
            out += f"<{found[1]}>"
            braces.append(f"</{found[1]}>")
        elif found := re.match(r"\\([A-Za-z]+)\{\}", rest):
            out += COMMANDS[found[1]]
        elif found := re.match(r"\$([^$]*)\$", rest):
            out += MATHS[found[1]]
        elif rest[0] == "{":
            found = re.match(r"\{", rest)
            braces.append("")
        elif rest[0] == "}":
            found = re.match(r"\}", rest)
            out += braces.pop()
        else:
            assert not re.match(r"--|''|``|,,|[!?]`|<<|>>", rest), f"{rest!r} would be joined"
            assert rest[0] not in "\\$&#_%~^<>|`", f"{rest!r} is a command"
            found = re.match(r".", rest)
            out += rest[0]
        assert found is not None
        index += found.end()
    assert not braces, "a brace is open"
    return out


def read_latex(document: str) -> tuple[list[list[str]], list[str]]:
    """Rows of the tabular, and all other printed text."""
    lines = document.splitlines()
    assert lines[:2] == [r"\begin{table}", r"\centering"] and lines[-1] == r"\end{table}"
    rows, others = [], []
    for line in lines:
        if line.endswith(r" \\"):
            body = line[: -len(r" \\")]
            assert body[:1] not in ("[", "*"), r"would be an argument of \\"
            cells = re.split(r"(?<!\\)&", body)
            rows.append([cell.strip() for cell in cells])
        elif found := re.match(
            r"\\(?:caption\{(.*)\}|par\\smallskip\\raggedright\\footnotesize (.*))$", line
        ):
            others.append(typeset(found[1] if found[1] is not None else found[2]))
        else:
            assert re.fullmatch(
                r"\\(begin\{table\}|end\{table\}|begin\{tabular\}\{l*r*\}|end\{tabular\}|centering|toprule|midrule"
                r"|bottomrule|cmidrule\(lr\)\{\d+-\d+\})",
                line,
            ), line
    return rows, others


@with_hostile_examples
@settings(deadline=None)
@given(names)
def test_latex_prints_names_as_they_are(name: str) -> None:
    rows, others = read_latex(as_latex(layout_of(name)))
    span, *table = rows
    heading = re.fullmatch(r"\\multicolumn\{1\}\{c\}\{(.*)\}", span[3])
    assert span[:3] == ["", "", ""] and heading and typeset(heading[1]) == f"paper {name}"
    assert [[typeset(cell) for cell in row] for row in table] == [
        ["row", "Edit", "MoF", "MoF"],
        [name, "<underline>1.00 ± 0.50</underline>", "–", "<textbf>3.00</textbf>"],
        ["other", "<textbf>2.00</textbf>", name, "<underline>−4.00</underline>"],
    ]
    assert others == [f"{name} title", "Bold is best and underlined second best of all.", f"note {name}"]


def test_latex_has_the_rules_of_booktabs_between_blocks() -> None:
    lines = as_latex(layout_of("a")).splitlines()
    assert [line for line in lines if "rule" in line] == [
        r"\toprule",
        r"\cmidrule(lr){4-4}",
        r"\midrule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert r"\begin{tabular}{lrrr}" in lines


def test_text_writes_signs_and_a_terminal_sets_type() -> None:
    plain = as_text(layout_of("[red]")).splitlines()
    assert plain[:2] == ["[red] title", ""]
    assert plain[2].split() == ["│", "paper", "[red]"] and plain[2].index("│") == plain[3].index("│")
    assert plain[5].split() == ["[red]", "○1.00", "±", "0.50", "–", "│", "●3.00"]
    assert plain[7].split() == ["other", "●2.00", "[red]", "│", "○−4.00"]
    assert plain[-2:] == ["● is best and ○ second best of all.", "note [red]"]
    styled = as_text(layout_of("[red]"), styled=True)
    assert "\x1b[1m3.00\x1b[0m" in styled and "\x1b[4m1.00 ± 0.50\x1b[0m" in styled
    assert "●" not in styled and "Bold is best and underlined second best of all." in styled
    without = re.sub(r"\x1b\[\d+m", "", styled)
    numbers = [re.findall(r"\d\.\d\d", text) for text in ("\n".join(plain), without)]
    assert numbers[0] == numbers[1], "marks change no number"


@pytest.mark.parametrize("form", [as_text, as_markdown, as_latex])
def test_a_table_without_marks_says_nothing_of_them(form: object) -> None:
    bare = Layout(
        headings=("a", "b"), num_names=1, cells=(("x", "1"),), block_ends=(False,), footnotes=("n",)
    )
    assert callable(form) and "best" not in form(bare)


def test_a_narrow_terminal_has_deviations_below_their_means() -> None:
    numbers = tuple(f"{index}8.59 ± 1.{index}0" for index in range(1, 6))
    layout = Layout(
        headings=("row", *"abcde"),
        num_names=1,
        cells=(("it ± is", *numbers), ("two", *numbers)),
        block_ends=(False, False),
        footnotes=(),
    )
    wide, narrow = as_text(layout, 100).splitlines(), as_text(layout, 60).splitlines()
    assert wide == as_text(layout).splitlines() and max(map(len, narrow)) <= 60
    assert narrow[2].split() == ["it", "±", "is", *(number.split()[0] for number in numbers)]
    assert narrow[3].split() == [part for number in numbers for part in number.split()[1:]]
    assert [line.rindex("0") for line in narrow[3:6:2]] == [len(narrow[3]) - 1] * 2, "one below the other"
