"""What the commands share, tried on a small command of its own in a real process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sync_store.console import given, print_json, some_of

PROGRAM = """\
import sys, time
from pathlib import Path

import click

from sync_store.console import SyncGroup, json_option, print_json, project_option, set_up_logging
from sync_store.errors import StoreError


@click.group(cls=SyncGroup, context_settings={"auto_envvar_prefix": "SYNC"})
def main():
    set_up_logging()


@main.command()
def refuse():
    raise StoreError("recording a:\\nfeatures end early")


@main.command()
@click.argument("path")
def read(path):
    Path(path).read_text()


@main.command()
def bug():
    raise KeyError("ours")


@main.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)


@main.command()
def talk():
    for number in range(1_000_000):
        click.echo(number)


@main.command()
@project_option
@json_option
def show(project_path, as_json):
    print_json({"project": str(project_path), "as_json": as_json, "letter": "ü"})


@main.command()
@click.option("--loud", is_flag=True)
def log(loud):
    import logging

    set_up_logging(loud)
    logging.getLogger("sync_store.reader").info("quiet news")
    logging.getLogger("other.library").info("their news")
    logging.getLogger("other.library").warning("their trouble")


main(prog_name="sync-test")
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "program.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "program.py")]


@pytest.fixture
def run(command: list[str]) -> Run:
    def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, "PYTHONWARNINGS": "", **environment}
        return subprocess.run([*command, *arguments], capture_output=True, text=True, env=variables)

    return start


def test_a_users_error_is_one_line_on_stderr(run: Run) -> None:
    done = run("refuse")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: recording a: features end early\n"


def test_so_is_what_the_system_refuses(run: Run, tmp_path: Path) -> None:
    done = run("read", str(tmp_path / "gone"))
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path}/gone: No such file or directory\n")


def test_our_own_bug_keeps_its_traceback(run: Run) -> None:
    done = run("bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "KeyError: 'ours'" in done.stderr


def test_wrong_usage_is_2(run: Run) -> None:
    assert run("show", "--nothing").returncode == 2
    assert run("show", "--project", "gone.toml").returncode == 2


def _heed_interrupts() -> None:
    """In the new process: it would ignore them where the tests themselves run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_by_a_signal_it_says_how_to_go_on(command: list[str], number: int, status: int) -> None:
    process = subprocess.Popen(
        [*command, "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, message = process.communicate(timeout=30)
    assert process.returncode == status
    assert message == "interrupted; run the same command again to go on\n"


def test_a_reader_that_has_enough_is_no_error(command: list[str]) -> None:
    process = subprocess.Popen([*command, "talk"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr is not None
    message = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1  # click's status for a closed pipe
    assert "error" not in message.lower() and "Traceback" not in message


def test_json_alone_is_on_stdout(run: Run, tmp_path: Path) -> None:
    done = run("show", "--json", "--project", str(tmp_path))
    assert json.loads(done.stdout) == {"project": str(tmp_path), "as_json": True, "letter": "ü"}
    assert "ü" in done.stdout
    by_variable = run("show", SYNC_PROJECT=str(tmp_path))
    assert json.loads(by_variable.stdout)["project"] == str(tmp_path)


def test_log_messages_go_to_stderr(run: Run) -> None:
    warning = "WARNING: their trouble\n"
    assert (run("log").stdout, run("log").stderr) == ("", warning)
    for loud in (run("log", "--loud"), run("log", SYNC_VERBOSE="1")):
        assert loud.stderr == f"INFO: quiet news\n{warning}"


def test_given_options_are_those_that_were_typed_or_set(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(context_settings={"auto_envvar_prefix": "SYNC"})
    @click.option("--fps", default="30")
    @click.option("--device", default="auto")
    @click.option("--batch-size", type=int)
    @click.pass_context
    def command(ctx: click.Context, **options: object) -> None:
        print_json(given(ctx, **options))

    def answer(*arguments: str) -> object:
        return json.loads(CliRunner().invoke(command, arguments).output)

    assert answer() == {}
    assert answer("--fps", "30") == {"fps": "30"}  # also where it equals the default
    monkeypatch.setenv("SYNC_BATCH_SIZE", "8")
    assert answer("--device", "cpu") == {"device": "cpu", "batch_size": 8}


def test_some_of_a_list() -> None:
    assert some_of(list("abcde")) == "a, b, c, d, e"
    assert some_of(list("abcdef")) == "a, b, c, d, e …"
