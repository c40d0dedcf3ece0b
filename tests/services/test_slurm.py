"""What jobs may rely on: arrays run on both nodes, and a job that loses its node or its place starts again."""

from pathlib import Path
from typing import Any

LINE = 'echo "$SLURM_JOB_ID $SLURM_ARRAY_TASK_ID $SLURMD_NODENAME ${SLURM_RESTART_COUNT:-0} $CUDA_VISIBLE_DEVICES"'


def lines_of(path: Path) -> list[list[str]]:
    """Words of a file's lines; none while there is no file."""
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []


def is_running(process: str) -> bool:
    """Whether a process of this number runs; a zombie has no command line any more."""
    command_line = Path("/proc", process, "cmdline")
    return command_line.exists() and command_line.read_bytes() != b""


def test_an_array_runs_on_both_nodes_at_once(slurm: Any, tmp_path: Path) -> None:
    script = f"""
        {LINE} > {tmp_path}/task-$SLURM_ARRAY_TASK_ID
        until grep -q n1 {tmp_path}/task-* && grep -q n2 {tmp_path}/task-*; do sleep 0.1; done
        """
    job = slurm.submit(
        script, "--array=0-3", "--cpus-per-task=2", "--gres=gpu:1", f"--output={tmp_path}/log-%a"
    )
    slurm.wait_for(job, "COMPLETED")
    assert [path.read_text() for path in sorted(tmp_path.glob("log-*"))] == [""] * 4
    ran = [line for path in sorted(tmp_path.glob("task-*")) for line in lines_of(path)]
    assert [(task, restarts, gpu) for _, task, _, restarts, gpu in ran] == [
        (str(i), "0", "0") for i in range(4)
    ]
    assert {node for _, _, node, _, _ in ran} == set(slurm.nodes)


def test_a_job_whose_node_is_killed_ends_on_the_other(slurm: Any, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    script = f"""
        {LINE} >> {started}
        [ -n "$SLURM_RESTART_COUNT" ] || srun bash -c 'echo $$ > {tmp_path}/process; sleep 600; true'
        {LINE} >> {ended}
        """
    job = slurm.submit(script, f"--output={tmp_path}/log")
    slurm.wait_until(lambda: len(lines_of(tmp_path / "process")) == 1, "the job runs")
    (first,), ((process,),) = lines_of(started), lines_of(tmp_path / "process")
    assert is_running(process)
    slurm.kill(first[2])
    assert not is_running(process)
    slurm.release(job)
    slurm.wait_for(job, "COMPLETED")
    (second,) = lines_of(ended)
    assert (second[0], second[3]) == (job, "1")
    assert {first[2], second[2]} == set(slurm.nodes)


def test_a_job_that_makes_room_gets_sigterm_and_starts_again(slurm: Any, tmp_path: Path) -> None:
    started, signals, urgent = tmp_path / "started", tmp_path / "signals", tmp_path / "urgent"
    script = f"""
        {LINE} >> {started}
        [ -n "$SLURM_RESTART_COUNT" ] && exit
        srun bash -c 'trap "echo SIGTERM >> {signals}" TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done'
        """
    on_first = "--nodelist=n1", "--cpus-per-task=2", f"--output={tmp_path}/log"
    job = slurm.submit(script, "--partition", slurm.low, *on_first)
    slurm.wait_until((tmp_path / "ready").exists, "the job runs")
    other = slurm.submit(f"{LINE} > {urgent}", "--partition", slurm.high, *on_first)
    slurm.wait_for(other, "COMPLETED")
    slurm.release(job)
    slurm.wait_for(job, "COMPLETED")
    assert "SIGTERM" in signals.read_text()
    assert [(node, restarts) for _, _, node, restarts, _ in lines_of(started)] == [("n1", "0"), ("n1", "1")]
    assert [words[0] for words in lines_of(urgent)] == [other]


def test_a_job_that_ends_by_itself_on_sigterm_is_not_put_back(slurm: Any, tmp_path: Path) -> None:
    """Why a job that wants to go on later has to ask for it."""
    script = f"""
        {LINE} >> {tmp_path}/started
        srun bash -c 'trap "exit 0" TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done'
        """
    on_first = "--nodelist=n1", "--cpus-per-task=2", f"--output={tmp_path}/log"
    job = slurm.submit(script, "--partition", slurm.low, *on_first)
    slurm.wait_until((tmp_path / "ready").exists, "the job runs")
    slurm.wait_for(slurm.submit("true", "--partition", slurm.high, *on_first), "COMPLETED")
    slurm.wait_for(job, "COMPLETED")
    (task,) = slurm.tasks(job)
    assert (task["Restarts"], len(lines_of(tmp_path / "started"))) == ("0", 1)
