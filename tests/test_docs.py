"""Documentation that can't drift: commands, options, links and goals."""

import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs" / "commands.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

EVERYWHERE = {"--help", "--version"}
"""Described once, for all commands."""

PROGRAMS = {
    script.name: script
    for script in distribution("sync-tas").entry_points
    if script.group == "console_scripts"
}


def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it by full name."""
    yield name, command
    if isinstance(command, click.Group):
        for part, below in command.commands.items():
            yield from walk(f"{name} {part}", below)


def documented() -> dict[str, str]:
    """Text of each command's section."""
    parts = re.split(r"^## `(.+)`$", COMMANDS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options_of(command: click.Command) -> set[str]:
    """Long names of the options."""
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("--")} - EVERYWHERE


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_option_is_documented_and_no_other(program: str) -> None:
    sections = {name: text for name, text in documented().items() if name.split()[0] == program}
    commands = dict(walk(program, PROGRAMS[program].load()))
    assert sorted(sections) == sorted(commands)
    for name, command in commands.items():
        in_table = re.findall(r"^\| `(--[a-z0-9-]+)", sections[name], flags=re.MULTILINE)
        assert sorted(in_table) == sorted(options_of(command)), name


@pytest.mark.parametrize("program", PROGRAMS)
def test_choices_are_documented(program: str) -> None:
    for name, command in walk(program, PROGRAMS[program].load()):
        for option in command.params:
            if isinstance(option.type, click.Choice):
                (row,) = re.findall(rf"^\| `{option.opts[0]}.*$", documented()[name], flags=re.MULTILINE)
                shown = set(re.findall(r"`([\w-]+)`", row))
                assert "as for" in row or set(option.type.choices) <= shown, (name, option.name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_says_what_it_does(program: str) -> None:
    for name, command in walk(program, PROGRAMS[program].load()):
        assert command.help, name
        assert len(command.get_short_help_str(200)) > 20, name


def test_what_every_command_has_is_described_first() -> None:
    introduction = COMMANDS.read_text().split("\n## ")[0]
    assert all(f"`{option}`" in introduction for option in EVERYWHERE)


def test_readme_names_every_program_and_the_commands_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [program for program in PROGRAMS if program not in readme] == []
    assert "docs/commands.md" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Links to files and to headings; the web isn't asked."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_goals_exist(page: Path) -> None:
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", page.read_text()))
    assert named <= goals, page.name


def test_readme_lists_every_module() -> None:
    tree = (ROOT / "README.md").read_text().split("## Where everything is")[1].split("```")[1]
    modules = [path for path in ROOT.glob("*/sync_*/**/*.py") if path.stem not in ("__init__", "__main__")]
    assert len(modules) > 100
    assert [str(path.relative_to(ROOT)) for path in modules if path.name not in tree] == []
