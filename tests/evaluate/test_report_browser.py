"""The report in a real Chromium, from disk: clicks, keys, and what the screen then shows.

Every frame of the test's videos says in its picture at which moment of the recording it was filmed: the share of
white columns is that moment's share of `SPAN_SECONDS`. So screenshots prove that both videos show the same moment,
whatever the browser makes of their files' times.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser, Page

from sync_eval.cli import main
from sync_store.labels import Segments, segments_of_frames, segments_to_csv
from sync_store.predictions import PredictionInfo, write_predictions

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '"quoted" & \'é 漢字 🙂',
    "screw",
)
RECORDING, SECOND = "r&1 'q' #%41 ü", "r2"

FPS = 10
SPAN_SECONDS = 8.0
SIZE = (64, 128)
TIME_BASE = Fraction(1, 1000)

# Where each view's file begins on its own clock, what is added to get the recording's, and how the file counts.
STARTS = {"v3": Fraction(1, 2), "e4": Fraction(3, 2)}
OFFSETS = {"v3": Fraction(-1), "e4": Fraction(3, 4)}
CLOCKS = {"v3": "container", "e4": "stream-start"}
FRAMES = 80

FRAME_SECONDS = 1 / FPS
TOLERANCE_SECONDS = 0.15
"""A frame and a half: the picture of a moment began up to a frame before it, and columns are pixels."""


def filmed_at(view: str, frame: int) -> Fraction:
    """Moment of the recording that a frame shows."""
    start = STARTS[view] if CLOCKS[view] == "container" else Fraction(0)
    return start + Fraction(frame, FPS) + OFFSETS[view]


def write_film(path: Path, view: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "crf": "12", "g": "10"}
        )
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        for k in range(FRAMES):
            picture = np.zeros((*SIZE, 3), dtype=np.uint8)
            picture[:, : max(0, round(SIZE[1] * float(filmed_at(view, k)) / SPAN_SECONDS))] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = TIME_BASE
            frame.pts = int((STARTS[view] + Fraction(k, FPS)) / TIME_BASE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def segments(order: str) -> Segments:
    """Ten frames a class, by number."""
    return segments_of_frames([HOSTILE[int(each)] for each in order for _ in range(FPS)], Fraction(FPS))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two recordings, one of which has videos, two methods, and two seeds of one of them."""
    root = tmp_path_factory.mktemp("report")
    views = "".join(
        f'[views.{view}]\nkind = "{kind}"\nclock = "{CLOCKS[view]}"\noffset_seconds = {float(OFFSETS[view])}\n'
        for view, kind in (("v3", "exo"), ("e4", "ego"))
    )
    (root / "sync.toml").write_text(f"[dataset]\nlabel_fps = {FPS}\n{views}")
    for folder in ("splits", "labels"):
        (root / folder).mkdir()
    (root / "splits" / "test.txt").write_text(f"{RECORDING}\n{SECOND}\n")
    (root / "labels" / f"{RECORDING}.csv").write_bytes(segments_to_csv(segments("01233")))
    (root / "labels" / f"{SECOND}.csv").write_bytes(segments_to_csv(segments("33210")))
    for view in STARTS:
        write_film(root / "videos" / RECORDING / f"{view}.mp4", view)
    (root / "videos" / SECOND).mkdir()
    (root / "videos" / SECOND / "e4.mp4").write_bytes(b"no video")
    for method, kind, view, seed, orders in (
        ("tas", "ego", "e4", 0, ("00000", "33210")),
        ("tas", "ego", "e4", 5, ("01233", "11111")),
        ("exo-oracle", "exo", "v3", 0, ("01222", "33333")),
    ):
        told = PredictionInfo(
            run="main", seed=seed, method=method, view=view, kind=kind, split="test", feature_set=HOSTILE[0]
        )
        predicted = dict(zip((RECORDING, SECOND), map(segments, orders), strict=True))
        seed_folder = root / "runs" / "main" / f"seed-{seed}"
        write_predictions(seed_folder / "predictions" / method / view, told, predicted)
        (seed_folder / "tas").mkdir(exist_ok=True)
        (seed_folder / "tas" / "journal.jsonl").write_text(
            '{"epoch": 0, "loss": 2.0}\n{"epoch": 1, "loss": 1.0}\n'
        )
    command = Path(sys.executable).with_name("sync-eval")
    subprocess.run([command, "report", "--project", root], check=True, capture_output=True)
    return root


class Seen:
    """What a page did that it shouldn't."""

    def __init__(self, page: Page) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", lambda request: self.requests.append(request.url))

    def _dismiss(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def opened(browser: Browser, project: Path) -> Iterator[Page]:
    """The page of a project, opened anew, which does nothing that it shouldn't."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    seen = Seen(page)
    page.goto((project / "report.html").as_uri())
    yield page
    context.close()
    assert seen.problems == []
    inside = (project.as_uri() + "/report.html", project.as_uri() + "/videos/")
    assert seen.requests and [url for url in seen.requests if not url.startswith(inside)] == []


@pytest.fixture
def report(browser: Browser, project: Path) -> Iterator[Page]:
    """The page of the project with videos."""
    with opened(browser, project) as page:
        yield page


@pytest.fixture(scope="module")
def plain(browser: Browser, make_folder: Callable[..., Any]) -> Iterator[Page]:
    """One page for several tests: a recording without videos, whose class B is background, and c only predicted."""
    folder = make_folder(background=("B",))
    folder.add("r1", "a*10 B*10 b*10")
    folder.predict({"r1": "a*20 b*10"}, method="no-adaptation")
    folder.predict({"r1": "a*3 c*7 a*10 b*10"}, method="tas")
    done = CliRunner().invoke(main, ["report", "--project", str(folder.root)])
    assert done.exit_code == 0, done.output
    with opened(browser, folder.root) as page:
        yield page


def wait_until(page: Page, condition: str) -> None:
    """As Playwright's `wait_for_function`, which the page's policy refuses to run."""
    for _ in range(1000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never came true: {condition}")


def wait_for_videos(page: Page) -> None:
    ready = "player.screens.every((screen) => screen.isReady && !screen.video.seeking)"
    wait_until(page, f"player.screens.length > 0 && {ready}")


def shown_moment(page: Page, index: int, folder: Path) -> float:
    """Moment of the recording in the picture of one of the videos, read from the screen."""
    path = folder / f"screen-{index}.png"
    page.wait_for_timeout(120)  # a sought frame is drawn after its event
    page.locator(".screen video").nth(index).screenshot(path=path)
    with Image.open(path) as image:
        gray = np.asarray(image.convert("L"), dtype=float)
    line = gray[gray.shape[0] // 2]
    return float((line > 128).mean()) * SPAN_SECONDS


def click_segment(page: Page, recording: int, bar: int, segment: int) -> None:
    page.locator(".recording").nth(recording).locator(".track").nth(bar).locator(".segment").nth(
        segment
    ).click()


def time_of(page: Page) -> float:
    return float(page.evaluate("player.time"))


@pytest.mark.parametrize(("bar", "segment", "seconds"), [(0, 2, 2.0), (2, 0, 0.0), (1, 2, 2.0)])
def test_a_click_on_a_segment_takes_both_videos_to_its_start(
    report: Page, tmp_path: Path, bar: int, segment: int, seconds: float
) -> None:
    wait_for_videos(report)
    click_segment(report, 0, bar, segment)
    assert time_of(report) == pytest.approx(seconds)
    wait_for_videos(report)
    v3, e4 = (
        video["currentTime"]
        for video in report.evaluate("player.screens.map(({video}) => ({currentTime: video.currentTime}))")
    )
    assert v3 == pytest.approx(seconds - float(OFFSETS["v3"]), abs=0.01)
    # Chromium counts as the container does, so the stream's first frame is at 1.5 s of its time.
    assert e4 == pytest.approx(max(seconds - float(OFFSETS["e4"]), 0) + float(STARTS["e4"]), abs=0.01)
    assert shown_moment(report, 0, tmp_path) == pytest.approx(seconds, abs=TOLERANCE_SECONDS)
    if seconds >= OFFSETS["e4"]:
        assert shown_moment(report, 1, tmp_path) == pytest.approx(seconds, abs=TOLERANCE_SECONDS)
        assert report.locator(".screen p").nth(1).text_content() == ""
    else:
        assert report.locator(".screen p").nth(1).text_content() == "no picture here at this moment"


@pytest.mark.parametrize(
    ("clock", "stated", "measured", "expected"),
    [
        ("container", 1.5, 1.5, 4.0),
        ("container", 1.5, 0.0, 2.5),
        ("container", None, 1.5, 4.0),
        ("stream-start", 1.5, 1.5, 5.5),
        ("stream-start", None, 0.0, 4.0),
    ],
)
def test_a_browser_may_call_the_first_frame_zero_or_as_the_container_does(
    report: Page, clock: str, stated: float | None, measured: float, expected: float
) -> None:
    """A second of offset, so second 5 of the recording is 4 of the file, counted as the clock says."""
    source = {"offset_seconds": 1.0, "clock": clock, "first_seconds": stated}
    mapped = "(screen) => Screen.prototype.browserTime.call(screen, 5)"
    assert report.evaluate(mapped, {"source": source, "firstSeconds": measured}) == expected


def test_playing_moves_playhead_and_videos_together(report: Page, tmp_path: Path) -> None:
    wait_for_videos(report)
    click_segment(report, 0, 0, 1)
    wait_for_videos(report)
    place = report.evaluate("player.card.playhead.getBoundingClientRect().left")
    report.keyboard.press("Space")
    wait_until(report, "player.time > 2.2")
    assert report.evaluate("player.screens.map(({video}) => video.paused)") == [False, False]
    assert report.locator("#play").get_attribute("aria-label") == "Pause"
    report.keyboard.press("Space")
    time = time_of(report)
    assert time > 2.2
    wait_for_videos(report)
    for index in (0, 1):
        assert shown_moment(report, index, tmp_path) == pytest.approx(time, abs=TOLERANCE_SECONDS)
    assert report.evaluate("player.screens.map(({video}) => video.paused)") == [True, True]
    box = report.locator(".recording").first.locator(".track").first.bounding_box()
    assert box is not None
    left = report.evaluate("player.card.playhead.getBoundingClientRect().left")
    assert left > place + 10
    assert left == pytest.approx(box["x"] + box["width"] * time / 5, abs=3)


def test_videos_keep_together_while_they_play(report: Page) -> None:
    wait_for_videos(report)
    click_segment(report, 0, 0, 1)
    report.locator("#play").click()
    wait_until(report, "player.time > 1.5")
    apart = report.evaluate(
        """async () => {
          const apart = [];
          while (player.isPlaying && player.time < 4) {
            const each = player.screens.map((s) => Math.abs(s.video.currentTime - s.browserTime(player.time)));
            apart.push(Math.max(...each));
            await new Promise(requestAnimationFrame);
          }
          return apart;
        }"""
    )
    assert len(apart) > 5
    assert np.median(apart) < 2 * FRAME_SECONDS


def test_playing_ends_at_the_end_and_begins_anew(report: Page) -> None:
    wait_for_videos(report)
    report.locator(".bars").first.focus()
    report.keyboard.press("End")
    report.keyboard.press("ArrowLeft")
    report.select_option("#speed", "4")
    report.locator("#play").click()
    wait_until(report, "!player.isPlaying")
    assert time_of(report) == 5
    assert report.evaluate("(find('play').click(), player.time)") == 0


def test_keys_need_no_focus_and_leave_others_alone(plain: Page) -> None:
    assert plain.evaluate("document.activeElement === document.body")
    plain.keyboard.press("Space")
    assert plain.evaluate("player.isPlaying") is True
    plain.keyboard.press("Space")
    plain.evaluate("player.seek(1)")
    for key, seconds in (
        ("ArrowRight", 2),
        ("Control+ArrowRight", 2),
        ("Alt+ArrowRight", 2),
        ("Meta+ArrowRight", 2),
        ("Home", 2),
        ("End", 2),
        ("ArrowLeft", 1),
    ):
        plain.keyboard.press(key)
        assert time_of(plain) == seconds, key
    for control in ("#filter", "#method"):
        plain.locator(control).press("ArrowRight")
        assert time_of(plain) == 1, control
    plain.evaluate("document.activeElement.blur()")


def test_keys(report: Page) -> None:
    wait_for_videos(report)
    bars = report.locator(".bars").first
    click_segment(report, 0, 0, 2)
    for key, seconds in (
        ("ArrowRight", 3.0),
        ("ArrowLeft", 2.0),
        ("Shift+ArrowRight", 3.0),
        ("Shift+ArrowLeft", 2.0),
        ("Shift+ArrowLeft", 1.0),
        ("End", 5.0),
        ("Home", 0.0),
        ("ArrowLeft", 0.0),
    ):
        report.keyboard.press(key)
        assert time_of(report) == pytest.approx(seconds), key
        assert bars.get_attribute("aria-valuenow") == f"{seconds:.1f}"
    assert bars.get_attribute("aria-valuetext") == f"0.0 s, {HOSTILE[0]}"
    report.locator("#filter").press("Space")
    assert report.evaluate("player.isPlaying") is False, "a space in the filter is a space"


def test_dragging_goes_to_the_very_moment(report: Page) -> None:
    wait_for_videos(report)
    box = report.locator(".track").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    report.mouse.move(box["x"] + 0.5 * box["width"], y)
    report.mouse.down()
    report.mouse.move(box["x"] + 0.7 * box["width"], y, steps=4)
    report.mouse.up()
    assert time_of(report) == pytest.approx(3.5, abs=0.02)
    report.mouse.move(box["x"] + 0.1 * box["width"], y)
    assert time_of(report) == pytest.approx(3.5, abs=0.02)


def labels_of_bar(page: Page, recording: int, bar: int) -> list[str]:
    track = page.locator(".recording").nth(recording).locator(".track").nth(bar)
    titles = track.locator(".segment").evaluate_all("(all) => all.map((one) => one.title)")
    return [str(title).rsplit("\n", 1)[0] for title in titles]


def test_another_seed_shows_its_bars_and_scores(report: Page) -> None:
    tas = 2
    assert labels_of_bar(report, 0, tas) == [HOSTILE[0]]
    values = report.locator(".recording").first.locator(".values").nth(tas + 1)
    assert values.locator("span").first.text_content() == "25.0"
    report.select_option("#seed", label="5")
    assert labels_of_bar(report, 0, tas) == list(HOSTILE)
    assert values.locator("span").first.text_content() == "100.0"
    assert labels_of_bar(report, 0, 1) == list(HOSTILE[:3])
    names = report.locator(".recording").first.locator(".name:not(.unit)").all_text_contents()
    assert names == ["ground truth", "exo-oracle, v3 (seed 0)", "tas, e4"], (
        "a row that hasn't that seed says so"
    )


def test_order_and_filter(report: Page) -> None:
    names = report.locator(".recording:not([hidden]) h3")
    assert names.all_text_contents() == [RECORDING, SECOND]
    report.select_option("#order", label="edit of tas, e4, worst first")
    assert names.all_text_contents() == [RECORDING, SECOND]
    report.select_option("#seed", label="5")
    assert names.all_text_contents() == [SECOND, RECORDING]
    report.fill("#filter", "#%41")
    assert names.all_text_contents() == [RECORDING]
    assert report.locator("#shown").text_content() == "1 of 2"
    report.fill("#filter", "")
    assert names.count() == 2


def test_another_recording_and_a_file_that_is_no_video(report: Page) -> None:
    wait_for_videos(report)
    click_segment(report, 1, 0, 1)
    assert report.locator("#player-title").text_content() == SECOND
    wait_until(report, "player.screens[0].video.error !== null")
    assert report.locator(".screen p").first.text_content() == (
        "videos/r2/e4.mp4 can't be found, or not played by this browser."
    )
    assert time_of(report) == 2
    report.locator("#play").click()
    wait_until(report, "player.time > 2.3")
    report.locator("#play").click()
    click_segment(report, 0, 0, 0)
    assert report.locator("#player-title").text_content() == RECORDING
    assert report.locator(".screen").count() == 2
    wait_for_videos(report)


def test_what_each_bar_says_at_the_playhead(report: Page) -> None:
    click_segment(report, 0, 0, 3)
    rows = report.locator("#now tr")
    assert rows.locator("th").all_text_contents() == ["ground truth", "exo-oracle, v3", "tas, e4"]
    assert rows.locator("td").all_text_contents() == [HOSTILE[3], HOSTILE[2], HOSTILE[0]]
    assert [cell.get_attribute("class") for cell in rows.locator("td").all()] == [None, "wrong", "wrong"]


def test_what_is_not_scored_is_not_called_wrong(plain: Page) -> None:
    """Frames of background: whatever is predicted there counts neither way."""
    cells = plain.locator("#now td")
    for seconds, labels, classes in (
        (0.5, ["a", "a", "c"], ["", "", "wrong"]),
        (1.5, ["B", "a", "a"], ["", "", ""]),
    ):
        plain.evaluate(f"player.seek({seconds})")
        assert cells.all_text_contents() == labels
        assert [cell.get_attribute("class") or "" for cell in cells.all()] == classes


def test_another_width_draws_the_bars_anew(plain: Page) -> None:
    def ticks() -> list[str]:
        return plain.locator(".axis span").all_text_contents()

    wide = ticks()
    plain.set_viewport_size({"width": 380, "height": 900})
    wait_until(plain, f"document.querySelectorAll('.axis span').length < {len(wide)}")
    assert set(ticks()) < set(wide)
    plain.set_viewport_size({"width": 1400, "height": 900})
    wait_until(plain, f"document.querySelectorAll('.axis span').length === {len(wide)}")
    assert ticks() == wide


@pytest.mark.parametrize(("method", "beside"), [("no-adaptation", "tas"), ("tas", "no-adaptation")])
def test_a_class_that_one_method_alone_predicts_is_in_both_matrices(
    plain: Page, method: str, beside: str
) -> None:
    plain.select_option("#method", label=method)
    plain.select_option("#other", label=beside)
    confusions = {
        figure.locator("figcaption").text_content(): figure.locator("li").all_text_contents()
        for figure in plain.locator("#matrices figure").all()
    }
    assert confusions == {"no-adaptation": [], "tas": ["a → c: 70.0 % (7 frames)"]}
    assert plain.locator("#by-class tbody th").all_text_contents() == ["a", "b", "c"]


def test_classes_and_confusions(report: Page) -> None:
    assert report.locator("#method option:checked").text_content() == "tas, e4"
    table = report.locator("#by-class tbody tr")
    shown = {row.locator("th").text_content(): row.locator("td").all_text_contents() for row in table.all()}
    # Seconds of both recordings and both seeds: screw has 8, and 2 of each 4 are found; the others have 4 each.
    assert shown["screw"][:3] == ["40.0 %", "2", "50.0"]
    assert [shown[name][2] for name in HOSTILE[:3]] == ["75.0", "75.0", "50.0"]
    first = report.locator("#matrices figure").first
    assert first.locator("li").all_text_contents()[:2] == [
        f"screw → {HOSTILE[1]}: 25.0 % (20 frames)",
        f"screw → {HOSTILE[0]}: 25.0 % (20 frames)",
    ]
    report.select_option("#method", label="exo-oracle, v3")
    assert first.locator("figcaption").text_content() == "exo-oracle, v3"


def test_hostile_labels_are_shown_as_they_are(report: Page) -> None:
    report.locator(".legend summary").click()
    assert sorted(report.locator("#legend li").all_text_contents()) == sorted(HOSTILE)
    assert report.locator("img, iframe, object, embed, link").count() == 0
    assert report.evaluate("document.scripts.length") == 2


def test_code_that_isnt_the_pages_own_does_not_run(browser: Browser, project: Path) -> None:
    """The policy holds, were a label ever to become markup."""
    page = browser.new_page()
    page.goto((project / "report.html").as_uri())
    refused = page.evaluate(
        """async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          const attempts = [
            () => (document.body.innerHTML = "<b>x</b>"),
            () => document.body.append(Object.assign(document.createElement("img"), { src: "x.png" })),
            () => document.body.setAttribute("style", "color: red"),
            () => fetch("https://example.org").catch(() => {}),
          ];
          for (const attempt of attempts) {
            try { attempt(); } catch { /* refused, as reported */ }
            await new Promise((resolve) => setTimeout(resolve, 30));
          }
          return refused;
        }"""
    )
    page.close()
    assert refused == ["require-trusted-types-for", "img-src", "style-src-attr", "connect-src"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_a_picture_in_both_schemes(report: Page, tmp_path: Path, scheme: Any) -> None:
    report.emulate_media(color_scheme=scheme)
    click_segment(report, 0, 0, 2)
    wait_for_videos(report)
    report.wait_for_timeout(120)
    report.screenshot(path=tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels[5, 5].mean() > 128) == (scheme == "light")
    colors = {tuple(color) for color in pixels[::3, ::3].reshape(-1, 3).tolist()}
    for each in report.evaluate("report.classes.map((one) => one.color)"):
        assert tuple(bytes.fromhex(each[1:])) in colors, "every class's colour is on the screen"


def test_printing_draws_every_recording(report: Page) -> None:
    report.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert report.locator(".recording .track").count() == 6
    report.emulate_media(media="print")
    assert not report.locator("#player").is_visible() and not report.locator("#filter").is_visible()
    assert report.locator("#seed").is_visible(), "paper says which seed it shows"
    assert report.locator("#by-class").is_visible()
