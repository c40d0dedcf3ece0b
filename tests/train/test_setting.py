"""Views, splits and features of a run, and what is missing, before the first epoch."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sync_extract.config import ExtractConfig
from sync_store.config import from_table
from sync_store.datasets import FolderDataset, VideoSource
from sync_store.errors import DatasetError, IncompleteError, NoVideoError, ProjectError, StoreError
from sync_store.project import load_project
from sync_train.progress import show_progress
from sync_train.readiness import check_setting
from sync_train.run import SeedRun
from sync_train.setting import Setting, make_setting


def setting_of(project: Any, **changed: Any) -> Setting:
    return make_setting(load_project(project.root), project.config(**changed))


def test_views_feature_set_and_device_come_from_the_project(tiny: Any) -> None:
    setting = setting_of(tiny)
    assert (setting.exo, setting.ego, setting.source.feature_set) == ("v3", "e4", "tiny")
    assert setting.source.feature_dim == 16
    assert setting.classes == ("attach", "inspect", "screw")
    assert setting.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert setting.splits["adapt"] == ["a0", "a1", "a2"]
    check_setting(setting)


def test_precision_follows_the_device(tiny: Any) -> None:
    assert setting_of(tiny, device="cpu").precision == "float32"
    assert setting_of(tiny, device="cpu", precision="bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(
    ("capabilities", "warned"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "none that says it"}, False),
    ],
)
def test_a_processor_without_bfloat16_is_warned_of(
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capabilities: dict[str, Any],
    warned: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    check_setting(setting_of(tiny, device="cpu"))
    assert "bfloat16" not in caplog.text
    check_setting(setting_of(tiny, device="cpu", precision="bfloat16"))
    assert ("this processor has no bfloat16" in caplog.text) == warned


def test_provenance_names_what_was_used(tiny: Any) -> None:
    provenance = setting_of(tiny, device="cpu").provenance
    assert provenance["fingerprint"] == setting_of(tiny).source.fingerprint
    assert provenance["splits"]["test"] == ["e0", "e1"]
    assert (provenance["exo"], provenance["ego"], provenance["device"]) == ("v3", "e4", "cpu")
    assert provenance["libraries"]["torch"] == torch.__version__
    assert re.match(r"\d+\.\d+\.\d+", provenance["code"])


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"exo": "e4"}, ProjectError, "view e4 isn't an exo view"),
        ({"ego": "v3"}, ProjectError, "view v3 isn't an ego view"),
        ({"exo": "v33"}, ProjectError, "there is no view 'v33', did you mean 'v3'?"),
        ({"device": "gpu"}, ProjectError, "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ({"device": "cuda:99"}, ProjectError, "device 'cuda:99' can't be used here"),
        ({"feature_set": "tony"}, IncompleteError, "there is no feature set 'tony', did you mean 'tiny'?"),
    ],
)
def test_what_doesnt_exist_is_named(
    tiny: Any, changed: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        setting_of(tiny, **changed)


EGO_SECTION = '[views.e4]\nkind = "ego"\n'


def without_ego_view(project: Any, instead: str = "") -> None:
    file = project.root / "sync.toml"
    file.write_text(file.read_text().replace(EGO_SECTION, instead))


def test_a_project_without_ego_view(project: Any) -> None:
    without_ego_view(project)
    add = r'add the ego view that {} needs: \[views.NAME\] kind = "ego"$'
    message = "sync.toml: this project has one view: train with sync-train teacher, or "
    with pytest.raises(ProjectError, match=message + add.format("ego-oracle")):
        setting_of(project)
    with pytest.raises(ProjectError, match=message + add.format("tas")):
        setting_of(project, methods=("exo-oracle", "tas"))
    message = (
        r'sync.toml \[train.teacher\]: this project has one view, and selection = "published-test-ego" selects '
        'on an ego view; choose "held-out" or "last"'
    )
    with pytest.raises(ProjectError, match=message):
        setting_of(project, methods=("exo-oracle",), teacher={"selection": "published-test-ego"})
    setting = setting_of(project, methods=("exo-oracle",), device="cpu")
    assert (setting.exo, setting.ego, setting.provenance["ego"]) == ("v3", None, None)
    check_setting(setting)
    project.delete_features("v3", ["t1", "e0"])
    with pytest.raises(IncompleteError, match=r"lacks recordings of view v3: 2 \(e0, t1\)"):
        check_setting(setting_of(project, methods=("exo-oracle",)))


def test_several_exo_views_and_no_ego_view(project: Any) -> None:
    without_ego_view(project, '[views.v4]\nkind = "exo"\n')
    with pytest.raises(ProjectError, match="this project has no ego view: train with sync-train teacher"):
        setting_of(project)
    setting = setting_of(project, methods=("exo-oracle",), exo="v4")
    assert (setting.exo, setting.ego) == ("v4", None)


def test_a_project_without_exo_view(project: Any) -> None:
    file = project.root / "sync.toml"
    file.write_text(file.read_text().replace('[views.v3]\nkind = "exo"\n', ""))
    message = r'sync.toml: has no exo view. Add one: \[views.NAME\] kind = "exo"\.'
    only = " The only view of a project counts as exo, even a worn camera's$"
    with pytest.raises(ProjectError, match=message + only):
        setting_of(project, methods=("exo-oracle",))
    file.write_text(file.read_text() + '[views.e3]\nkind = "ego"\n')
    with pytest.raises(ProjectError, match=f"{message}$"):
        setting_of(project)


def test_without_a_word_on_features_the_only_ones_of_the_store_are_taken(project: Any) -> None:
    """As after an import, where nothing was extracted."""
    file = project.root / "sync.toml"
    file.write_text(file.read_text().replace('feature_set = "tiny"', ""))
    assert setting_of(project).source.feature_set == "tiny"
    shutil.copytree(project.store / "tiny", project.store / "tinier")
    with pytest.raises(IncompleteError, match="there is no feature set 'dinov2-large'; known: tinier, tiny"):
        setting_of(project)
    assert setting_of(project, feature_set="tinier").source.feature_set == "tinier"


def test_a_store_that_isnt_there(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "sync.toml").write_text((tiny.root / "sync.toml").read_text())
    with pytest.raises(StoreError, match=r"there is no feature store here. Make it with: sync-extract"):
        make_setting(load_project(tmp_path), tiny.config())


@pytest.mark.parametrize(("first", "second"), [("train", "adapt"), ("train", "test"), ("adapt", "test")])
def test_splits_must_be_disjoint(project: Any, first: str, second: str) -> None:
    name = (project.root / "splits" / f"{first}.txt").read_text().split()[0]
    with (project.root / "splits" / f"{second}.txt").open("a") as file:
        file.write(f"{name}\n")
    message = f"recording {name} is in the splits of {first} and of {second}; they must be disjoint"
    with pytest.raises(DatasetError, match=message):
        _ = setting_of(project).splits


def test_pairs_are_needed_by_distillation_alone(project: Any) -> None:
    (project.root / "splits" / "adapt.txt").unlink()
    setting = setting_of(project, methods=("exo-oracle", "no-adaptation"))
    assert sorted(setting.splits) == ["test", "train"]
    with pytest.raises(DatasetError, match=r"adapt.txt: there is no such split; have: test, train"):
        _ = setting_of(project).splits


def test_splits_may_have_other_names(project: Any) -> None:
    (project.root / "splits" / "adapt.txt").rename(project.root / "splits" / "pairs.txt")
    assert setting_of(project, splits={"adapt": "pairs"}).splits["adapt"] == ["a0", "a1", "a2"]


PARTS = {"exo train", "ego train", "exo adapt", "ego adapt", "exo test", "ego test"}


@pytest.mark.parametrize(
    ("method", "selection", "needed"),
    [
        ("exo-oracle", "held-out", {"exo train", "exo test"}),
        ("exo-oracle", "published-test-ego", {"exo train", "exo test", "ego test"}),
        ("ego-oracle", "held-out", {"ego train", "ego test"}),
        ("no-adaptation", "held-out", {"exo train", "ego test"}),
        ("feature", "held-out", {"exo train", "exo adapt", "ego adapt", "ego test"}),
        ("tas", "held-out", {"exo train", "exo adapt", "ego adapt", "ego test"}),
        ("feature-tas", "last", {"exo train", "exo adapt", "ego adapt", "ego test"}),
    ],
)
def test_features_that_a_method_needs(project: Any, method: str, selection: str, needed: set[str]) -> None:
    """All others are deleted; then each needed part is, and is named with the command that makes it."""
    views, splits = {"exo": "v3", "ego": "e4"}, {"train": "t0", "adapt": "a1", "test": "e1"}
    for part in sorted(PARTS - needed):
        view, split = part.split()
        project.delete_features(views[view], (project.root / "splits" / f"{split}.txt").read_text().split())
    changed = {"methods": (method,), "teacher": {"selection": selection}}
    check_setting(setting_of(project, **changed))
    for part in sorted(needed):
        view, split = part.split()
        folder = project.store / "tiny" / views[view] / splits[split]
        folder.rename(project.root / "away")
        message = f"view {views[view]}: 1 ({splits[split]})"
        command = f"Extract them with: sync-extract --view {views[view]}"
        command += ", or leave them out with --skip-missing$" if split == "train" else "$"
        with pytest.raises(IncompleteError, match=f"{re.escape(message)}.*{command}"):
            check_setting(setting_of(project, **changed))
        (project.root / "away").rename(folder)


def test_all_that_is_missing_is_counted(project: Any) -> None:
    project.delete_features("v3", ["t1", "t0"])
    project.delete_features("e4", ["a0"])
    message = (
        "feature set tiny lacks recordings of view v3: 2 (t0, t1); view e4: 1 (a0). Extract them with: "
        "sync-extract --view v3 --view e4"
    )
    with pytest.raises(IncompleteError, match=re.escape(message)):
        check_setting(setting_of(project))


def test_up_to_five_missing_recordings_are_named(project: Any) -> None:
    names = [f"t{number}" for number in range(3, 9)]
    with (project.root / "splits" / "train.txt").open("a") as file:
        file.write("\n".join(names[:5]) + "\n")
    setting = {"methods": ("exo-oracle",)}
    with pytest.raises(IncompleteError, match=r"view v3: 5 \(t3, t4, t5, t6, t7\)\. Extract them"):
        check_setting(setting_of(project, **setting))
    with (project.root / "splits" / "train.txt").open("a") as file:
        file.write(names[5] + "\n")
    with pytest.raises(IncompleteError, match=r"view v3: 6 \(t3, t4, t5, t6, t7 …\)\. Extract them"):
        check_setting(setting_of(project, **setting))


def test_a_misspelt_recording_is_told_from_one_not_extracted(project: Any) -> None:
    """Extracting couldn't help. Where the videos are elsewhere, nobody can tell."""
    file = project.root / "splits" / "adapt.txt"
    file.write_text("a0\na11\na2\n")
    with pytest.raises(IncompleteError, match=r"view v3: 1 \(a11\); view e4: 1 \(a11\)\. Extract them"):
        check_setting(setting_of(project))
    for name in ("a0", "a1", "a2", "t0", "t1", "t2", "e0", "e1"):
        (project.root / "videos" / name).mkdir(parents=True)
    message = (
        "split adapt names 1 recording that the dataset hasn't (a11), did you mean 'a1'? Correct the split, "
        "or add the videos"
    )
    with pytest.raises(DatasetError, match=re.escape(message)):
        check_setting(setting_of(project))
    file.write_text("a0\na11\na12\n")
    with pytest.raises(
        DatasetError, match=r"adapt names 2 recordings that the dataset hasn't \(a11, a12\)\. C"
    ):
        check_setting(setting_of(project))
    (project.root / "videos" / "a11").mkdir()
    (project.root / "videos" / "a12").mkdir()
    with pytest.raises(IncompleteError, match=r"view v3: 2 \(a11, a12\)"):
        check_setting(setting_of(project))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ('feature_set = "mine"\nbackbone = "theirs"', "mine"),
        ('feature_set = ""\nbackbone = "theirs"', "theirs"),
        ("", "dinov2-large"),
        ("feature_set = 5", None),
        ("backbone = [1]", None),
    ],
)
def test_the_feature_set_is_the_one_that_extraction_makes(
    project: Any, lines: str, found: str | None
) -> None:
    file = project.root / "sync.toml"
    file.write_text(file.read_text().replace('feature_set = "tiny"', lines))
    if found is None:
        key, value = lines.split(" = ")
        message = rf"sync.toml \[extract\]: {key} must be str, got {re.escape(value)}"
        with pytest.raises(ProjectError, match=message):
            setting_of(project)
        return
    assert from_table(ExtractConfig, load_project(project.root).stage("extract"), "").name == found
    (project.store / "tiny").rename(project.store / found)
    assert setting_of(project).source.feature_set == found


def test_heads_that_dont_divide_the_features_are_found_before_training(tiny: Any) -> None:
    message = r"\[train.adapter\]: the adapter's num_heads must divide the feature width 16, got 3"
    with pytest.raises(ProjectError, match=message):
        check_setting(setting_of(tiny, adapter={"num_heads": 3}))
    check_setting(setting_of(tiny, adapter={"num_heads": 3}, methods=("tas",)))


class WithoutE4(FolderDataset):
    """A dataset in which recording t1 was never filmed by e4, as five of Assembly101 weren't."""

    def video(self, recording: str, view: str) -> VideoSource:
        if (recording, view) == ("t1", "e4"):
            raise NoVideoError("there is none")
        return super().video(recording, view)


def without_e4(project: Any) -> Setting:
    for name in ("t0", "t1", "t2"):
        (project.root / "videos" / name).mkdir(parents=True, exist_ok=True)
        (project.root / "videos" / name / "e4.mp4").touch()
    setting = setting_of(project, device="cpu", methods=("exo-oracle", "ego-oracle"))
    return replace(setting, dataset=WithoutE4(load_project(project.root)))


def test_a_recording_that_was_not_filmed_is_left_out_and_said(
    project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    project.delete_features("e4", ["t1"])
    setting = without_e4(project)
    assert setting.training_recordings("v3") == ["t0", "t1", "t2"]
    assert setting.training_recordings("e4") == ["t0", "t2"]
    check_setting(setting)
    assert "view e4: 1 of 3 training recordings have no features and aren't learnt from in it (t1)" in (
        caplog.text
    )


def test_its_oracle_is_that_of_a_split_without_it(project: Any) -> None:
    project.delete_features("e4", ["t1"])
    weights = []
    for name, setting in (("absent", without_e4(project)), ("split", without_e4(project))):
        if name == "split":
            (project.root / "splits/train.txt").write_text("t0\nt2\n")
        with show_progress(quiet=True) as watcher:
            SeedRun(setting, project.root / name, 0, watcher).model("ego-oracle")
        weights.append((project.root / name / "main/seed-0/ego-oracle/model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_one_that_was_filmed_and_not_extracted_is_still_missing(project: Any) -> None:
    project.delete_features("e4", ["t1", "t2"])
    with pytest.raises(IncompleteError, match=r"lacks recordings of view e4: 1 \(t2\)"):
        check_setting(without_e4(project))
    project.delete_features("e4", ["t0"])
    with pytest.raises(IncompleteError, match=r"lacks recordings of view e4: 2 \(t0, t2\)"):
        check_setting(without_e4(project))


def test_without_any_video_nobody_knows_what_was_filmed(project: Any) -> None:
    """As after an import: leaving out is for the user to say."""
    project.delete_features("e4", ["t1"])
    options = {"device": "cpu", "methods": ("exo-oracle", "ego-oracle")}
    with pytest.raises(
        IncompleteError, match=r"e4: 1 \(t1\)\. .*--view e4, or leave them out with --skip-missing"
    ):
        check_setting(setting_of(project, **options))
    setting = setting_of(project, skip_missing=True, **options)
    assert setting.training_recordings("e4") == ["t0", "t2"]
    check_setting(setting)


def test_what_is_tested_or_adapted_on_is_never_left_out(project: Any) -> None:
    project.delete_features("e4", ["e1"])
    setting = setting_of(project, device="cpu", methods=("ego-oracle",), skip_missing=True)
    with pytest.raises(IncompleteError, match=r"e4: 1 \(e1\)\. Extract them with: sync-extract --view e4$"):
        check_setting(setting)


def test_a_misspelt_recording_is_not_taken_for_one_that_was_not_filmed(project: Any) -> None:
    setting = without_e4(project)
    (project.root / "splits/train.txt").write_text("t0\nt1\ntt2\n")
    with pytest.raises(DatasetError, match=r"split train names 1 recording .*\(tt2\), did you mean 't2'"):
        check_setting(setting)
