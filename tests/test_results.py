"""README's figures are those of the committed result files."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text()

METHODS = {
    "exo-oracle (the teacher)": "exo-oracle",
    "ego-oracle": "ego-oracle",
    "no adaptation": "no-adaptation",
    "feature distillation": "feature",
    "TAS distillation": "tas",
    "both": "feature-tas",
}
SCORES = ("edit", "f1_10", "f1_25", "f1_50", "mof")

RATIOS = {
    ("read_store", "store_over_np_load"): "`np.load` of the same float16 array",
    ("read_store", "store_over_np_load_cold"): "the same, not in it",
    ("read_store", "store_over_lmdb"): "one LMDB key a frame, float32",
    ("write_store", "store_over_files"): "plain files with fsync",
    ("extraction", "pipeline_over_loop_96x128"): "extraction, demo backbone, 96×128",
    ("extraction", "pipeline_over_loop_480x640"): "extraction, demo backbone, 480×640",
    ("teacher_epoch", "trainer_over_plain_loop"): "a plain loop padded to 1,200 chunks",
    ("teacher_epoch", "trainer_bfloat16_over_plain_loop"): 'the same with `precision = "bfloat16"`',
    ("import_lmdb", "import_over_plain_read"): "importing Assembly101's form of LMDB",
}


def rows(section: str) -> list[list[str]]:
    """Cells of the table rows of a section of the README."""
    text = re.split(r"^#+ ", README.split(section, 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]


def test_scores() -> None:
    with (RESULTS / "demo_seed7.csv").open(newline="") as file:
        measured = {row["method"]: row for row in csv.DictReader(file)}
    shown = {METHODS[cells[0]]: cells[3:] for cells in rows("## Results\n") if cells[0] in METHODS}
    assert sorted(shown) == sorted(measured) == sorted(METHODS.values())
    for method, cells in shown.items():
        row = measured[method]
        assert cells == [f"{float(row[name]):.2f} ± {float(row[f'{name}_sd']):.2f}" for name in SCORES], (
            method
        )
    gain = float(measured["tas"]["edit"]) - float(measured["no-adaptation"]["edit"])
    share = float(measured["tas"]["edit"]) / float(measured["ego-oracle"]["edit"])
    assert f"gains {gain:.1f} points of edit" in README
    assert f"reaches {share * 100:.0f} % of the ego oracle" in README


@pytest.mark.parametrize(("benchmark", "name"), RATIOS)
def test_ratios(benchmark: str, name: str) -> None:
    found = json.loads((RESULTS / f"{benchmark}.json").read_text())["ratios"][name]
    wanted = f"{found['of_medians']:.2f} ({found['least']:.2f}–{found['most']:.2f})"
    (row,) = [cells for cells in rows("### Speed\n") if RATIOS[benchmark, name] in cells]
    assert row[2] == wanted


def test_peak_memory() -> None:
    timings = json.loads((RESULTS / "memory.json").read_text())["timings"]
    for backbone, shown in (("dinov2-large", "DINOv2-large"), ("omnivore-swin-l", "Omnivore Swin-L")):
        assert f"{timings[backbone]['peak_bytes'] / 1e9:.1f} GB with {shown}" in " ".join(README.split())
