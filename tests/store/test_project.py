"""The project file: what it says, where it is found, and what is wrong with it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from sync_store.dataset_config import parse_rate
from sync_store.errors import ProjectError
from sync_store.project import MAX_BYTES, find_project, load_project
from sync_store.s3 import S3Path

FULL = """\
[dataset]
kind = "folder"
root = "data"
label_fps = "30000/1001"
background = ["nothing"]

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"
offset_seconds = -1.1
clock = "stream-start"

[store]
path = "/big/features.zarr"

[runs]
path = "results"

[experiments]
path = "tables"
features = { tsm-exo = "my-tsm" }

[extract]
backbone = "dinov2-large"

[train]
seeds = [0, 1]
"""
VIEW = '[views.e4]\nkind = "ego"\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_file(text: str | bytes) -> Path:
        path = tmp_path / "sync.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def test_everything(write: Callable[[str | bytes], Path], tmp_path: Path) -> None:
    project = load_project(write(FULL))
    assert project.folder == tmp_path
    assert project.dataset_root == tmp_path / "data"
    assert project.store_path == Path("/big/features.zarr")
    assert project.runs_path == tmp_path / "results"
    assert project.experiments_path == tmp_path / "tables"
    assert project.experiments.features == {"tsm-exo": "my-tsm"}
    assert project.dataset.label_rate == Fraction(30_000, 1001)
    assert project.dataset.background == ("nothing",)
    assert list(project.views) == ["v3", "e4"]
    assert (project.views_of_kind("exo"), project.views_of_kind("ego")) == (["v3"], ["e4"])
    view = project.view("e4")
    assert (view.clock, view.offset) == ("stream-start", Fraction(-11, 10))  # the decimal, not the float
    assert project.stage("train") == {"seeds": [0, 1]}
    assert project.stage("evaluate") == {}


def test_a_store_in_a_bucket_and_a_cache(
    write: Callable[[str | bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    store = '[store]\npath = "s3://lab/a/features.zarr"\ncache = "$SCRATCH/features"\n'
    project = load_project(write(VIEW + store))
    assert project.store_path == S3Path("lab", "a/features.zarr")
    assert project.cache_path == Path("/scratch/me/features")
    assert load_project(write(VIEW + '[store]\ncache = "near"\n')).cache_path == tmp_path / "near"
    monkeypatch.delenv("SCRATCH")
    with pytest.raises(ProjectError, match=r"cache '\$SCRATCH/features' names a variable that isn't set"):
        _ = load_project(write(VIEW + store)).cache_path


def test_defaults(write: Callable[[str | bytes], Path], tmp_path: Path) -> None:
    project = load_project(write(VIEW))
    assert project.dataset_root == tmp_path
    assert project.store_path == tmp_path / "features.zarr"
    assert project.runs_path == tmp_path / "runs"
    assert project.experiments_path == tmp_path / "experiments" and project.experiments.features == {}
    assert project.dataset.label_rate == 30
    assert (project.view("e4").offset, project.view("e4").clock) == (0, "container")


def test_a_byte_order_mark_and_crlf(write: Callable[[str | bytes], Path]) -> None:
    assert list(load_project(write(b"\xef\xbb\xbf" + VIEW.replace("\n", "\r\n").encode())).views) == ["e4"]


def test_it_is_found_from_below(
    write: Callable[[str | bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(VIEW)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(below) == file
    assert load_project(tmp_path).file == file
    monkeypatch.chdir(below)
    assert load_project().file == file
    nearer = tmp_path / "a" / "sync.toml"
    nearer.write_text('[views.x]\nkind = "exo"\n')
    assert list(load_project().views) == ["x"]


def test_none_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=r"no sync\.toml in .* or any folder above it.*--project"):
        load_project()
    with pytest.raises(ProjectError, match=r"sync\.toml: there is no such file"):
        load_project(tmp_path)
    with pytest.raises(ProjectError, match=r"other\.toml: there is no such file"):
        load_project(tmp_path / "other.toml")


def test_an_unknown_view(write: Callable[[str | bytes], Path]) -> None:
    project = load_project(write(FULL))
    with pytest.raises(ProjectError, match=r"sync\.toml: there is no view 'v33', did you mean 'v3'\?"):
        project.view("v33")
    with pytest.raises(ProjectError, match="there is no view 'middle'; known: e4, v3"):
        project.view("middle")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("views = [", r"can't be read as TOML"),
        (b"[views.e4]\nkind = '\xff'\n", r"can't be read as TOML"),
        ("[[[" * 5000, r"can't be read as TOML"),
        ("# " + "x" * MAX_BYTES, r"is larger than 1048576 bytes; expected a short TOML file"),
        ("", r'lists no views. Add one section a camera, such as \[views\.e4\] kind = "ego"'),
        ("[datasets]\n" + VIEW, r"unknown section \[datasets\], did you mean 'dataset'\?"),
        ("store = 3\n" + VIEW, r"store must be a section, written \[store\]"),
        ("[views]\ne4 = 'ego'\n", r"\[views\.e4\]: expected a section with keys, got 'ego'"),
        ("[views.e4]\n", r'\[views\.e4\]: .*"kind"'),
        ('[views.e4]\nkind = "top"\n', r"\[views\.e4\]: kind must be Literal\['exo', 'ego'\], got 'top'"),
        (VIEW + "offset = 1\n", r"unknown key 'offset', did you mean 'offset_seconds'\?"),
        (
            VIEW + "offset_seconds = nan\n",
            r"offset_seconds must be a number of seconds below 1e\+09, got nan",
        ),
        (
            VIEW + "offset_seconds = inf\n",
            r"offset_seconds must be a number of seconds below 1e\+09, got inf",
        ),
        (VIEW + 'clock = "wall"\n', r"clock must be Literal\['container', 'stream-start'\], got 'wall'"),
        (
            VIEW + "[dataset]\nlabel_fsp = 3\n",
            r"\[dataset\]: unknown key 'label_fsp', did you mean 'label_fps'",
        ),
        (VIEW + "[dataset]\nlabel_fps = 0\n", r'label_fps must be a rate such as 30 or "30000/1001", got 0'),
        (VIEW + '[dataset]\nlabel_fps = "1/0"\n', r"label_fps must be a rate such as .* got '1/0'"),
        (VIEW + '[dataset]\nbackground = "SIL"\n', r"background must be a list of str, got 'SIL'"),
        (
            VIEW + '[dataset]\nkind = "lmdb"\n',
            r"kind must be Literal\['folder', 'assembly101', 'egoexo4d', 'frames'\], got 'lmdb'",
        ),
        (VIEW + '[store]\npath = "s3://lab"\n', r"\[store\]: expected s3://BUCKET/NAME, got 's3://lab'"),
        (VIEW + "[store]\npath = 3\n", r"\[store\]: path must be str, got 3"),
        (
            VIEW + '[experiments]\nfeatures = "x"\n',
            r"\[experiments\]: features must be a section of str, got 'x'",
        ),
        (VIEW + "[experiments.features]\na = 1\n", r"features must be a section of str, got \{'a': 1\}"),
        (
            VIEW + '[experiments.features]\na = ".."\n',
            r"features\.a: feature set name '\.\.' begins with '\.'",
        ),
        (VIEW + '[experiments]\npaht = "x"\n', r"\[experiments\]: unknown key 'paht', did you mean 'path'\?"),
    ],
)
def test_mistakes_are_named(write: Callable[[str | bytes], Path], text: str | bytes, message: str) -> None:
    with pytest.raises(ProjectError, match=r"sync\.toml.*" + message):
        load_project(write(text))


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        (30, Fraction(30)),
        (29.97, Fraction(2997, 100)),
        ("30000/1001", Fraction(30_000, 1001)),
        ("12.5", Fraction(25, 2)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_rates_are_exact(value: float | str, rate: Fraction) -> None:
    assert parse_rate(value, "fps") == rate


@pytest.mark.parametrize(
    "value", [0, -30, "fast", "", "1/0", "nan", float("nan"), float("inf"), 1e9, "1e-400", "9" * 40, 10_001]
)
def test_what_is_no_rate(value: float | str) -> None:
    with pytest.raises(ProjectError, match='fps must be a rate such as 30 or "30000/1001", got'):
        parse_rate(value, "fps")
