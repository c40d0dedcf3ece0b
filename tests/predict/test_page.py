"""The page with the video: in a real Chromium, from disk, with labels and names that want to be more than text."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from sync_predict.page import render_page
from sync_store.labels import Segments

HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", '"quoted" & \'é 漢字 🙂')
VIDEO = "v & <i> #1 %41 'q' ü.mp4"

EDGES_SECONDS = (-0.05, 1.95, 3.95, 4.95, 5.95)
ORDER = (0, 1, 2, 1)
CONFIDENCE = (1.0, 0.5, 0.25, 0.75)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory, films: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("page")
    films(root / "in" / VIDEO, [(200, 0, 0), (0, 0, 200)] * 3, 0)
    edges_ns = (1e9 * np.array(EDGES_SECONDS)).astype(np.int64)
    segments = Segments(
        start_ns=edges_ns[:-1],
        stop_ns=edges_ns[1:],
        labels=tuple(HOSTILE[index] for index in ORDER),
        confidence=np.array(CONFIDENCE),
    )
    (root / "out").mkdir()
    text = render_page(segments, root / "in" / VIDEO, root / "out", list(HOSTILE), "run <b>, tas, seed 0")
    (root / "out" / "page.html").write_text(text)
    return root / "out" / "page.html"


@pytest.fixture
def opened(browser: Browser, page_path: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page, ready to play, and what it did that it shouldn't."""
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: problems.extend([request.url] * (not request.url.startswith("file:"))))
    page.goto(page_path.as_uri())
    wait_for(page, "video.readyState >= 1")
    yield page, problems
    page.close()


def wait_for(page: Page, condition: str) -> None:
    """Asked from outside: the page's own policy forbids what `wait_for_function` does in it."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def current_time(page: Page) -> float:
    wait_for(page, "!video.seeking")
    return float(page.evaluate("video.currentTime"))


def test_a_click_on_a_segment_seeks_to_its_start(opened: tuple[Page, list[str]]) -> None:
    page, problems = opened
    bars = page.locator("#timeline .segment > rect:first-child")
    assert bars.count() == len(ORDER)
    for index in (2, 1, 3, 0):
        bars.nth(index).click()
        assert current_time(page) == pytest.approx(max(0, EDGES_SECONDS[index]))
        wait_for(page, f"document.querySelector('tr.now')?.dataset.index === '{index}'")
        assert HOSTILE[ORDER[index]] in (page.locator("#now").text_content() or "")
        box, head = bars.nth(index).bounding_box(), page.locator("#playhead").bounding_box()
        assert box is not None and head is not None
        # The first segment begins before the video does, so there the playhead is within it.
        assert box["x"] - 2 <= head["x"] + head["width"] / 2 <= box["x"] + (12 if index == 0 else 2)
    assert problems == []


def test_a_click_in_the_list_seeks_too(opened: tuple[Page, list[str]]) -> None:
    page, problems = opened
    page.get_by_role("button", name=HOSTILE[2]).click()
    assert current_time(page) == pytest.approx(3.95)
    assert problems == []


def test_the_playhead_runs(opened: tuple[Page, list[str]]) -> None:
    page, problems = opened
    page.evaluate("video.play()")
    wait_for(page, "video.currentTime > 0.3")
    page.evaluate("video.pause()")
    wait_for(page, "Math.abs(playhead.getAttribute('x1') - 1000 * video.currentTime) < 1")
    assert problems == []


def test_names_are_shown_and_nothing_else_comes_of_them(opened: tuple[Page, list[str]]) -> None:
    page, problems = opened
    assert page.title() == f"{VIDEO}: actions"
    assert page.locator("h1").text_content() == VIDEO
    assert page.locator("tbody button").all_text_contents() == [HOSTILE[index] for index in ORDER]
    assert page.locator("img, i, b").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("#problem").is_hidden()
    assert problems == []


def test_colours_and_heights_tell_class_and_confidence(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    fills = page.evaluate(
        "[...document.querySelectorAll('.segment rect:first-child')].map(r => getComputedStyle(r).fill)"
    )
    assert fills[1] == fills[3] and len(set(fills)) == 3
    sure: list[Any] = page.locator("#timeline .sure").all()
    assert [float(each.get_attribute("height")) for each in sure] == [20 * value for value in CONFIDENCE]


def test_a_video_that_is_gone_is_said_to_be(browser: Browser, page_path: Path, tmp_path: Path) -> None:
    shutil.copyfile(page_path, tmp_path / "page.html")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#problem").wait_for(state="visible")
    page.close()


def test_a_page_of_no_segments(tmp_path: Path) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    text = render_page(
        Segments(start_ns=nothing, stop_ns=nothing, labels=()), tmp_path / "v.mp4", tmp_path, ["a"], "run"
    )
    assert re.search(r'viewBox="0 0 1 60"', text)
