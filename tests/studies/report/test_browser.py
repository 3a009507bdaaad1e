"""The page of a report in a real browser, Chromium without a window."""

import json
import re
import shutil
import subprocess

import pytest

from egnas_jax.storage import records
from egnas_jax.studies.report.write import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"needs one of {', '.join(NAMES)}"),
]
# Loads the page into a frame, and writes what a script can measure of it.
FRAME = """<!doctype html>
<iframe src="report.html" width="WIDTH" height="900" style="border: 0"></iframe>
<pre id="measured"></pre>
<script>
document.querySelector("iframe").onload = (event) => {
  const page = event.target.contentDocument;
  const style = (element) => event.target.contentWindow.getComputedStyle(element);
  const canvas = page.createElement("div");  // what is behind a page without background
  canvas.style.backgroundColor = "Canvas";
  page.body.append(canvas);
  const behind = [page.body, page.documentElement, canvas]
    .map((element) => style(element).backgroundColor)
    .find((colour) => colour !== "rgba(0, 0, 0, 0)");
  document.getElementById("measured").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    background: behind,
    text: style(page.querySelector("td")).color,
    images: page.querySelectorAll("svg, img").length,
  });
};
</script>
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a report on two seeds of a search."""
    runs = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        folder = runs / f"seed{seed}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"seed": seed}))
        for epoch in range(4):
            line = {"train_loss": 2.0 - epoch / 4, "train_accuracy": 0.1 * epoch}
            line |= {"valid_loss": 2.0 - epoch / 5, "valid_accuracy": 0.09 * epoch}
            line |= {"epoch": epoch, "digest": "0" * 64, "seconds": 2.0 + seed}
            records.append(folder / "metrics.jsonl", line)
    return write_report([str(runs)], str(tmp_path_factory.mktemp("report"))).parent


def browse(folder, *, width, dark):
    """What the script has measured, and what the browser wrote to its console."""
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    result = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu"),
            *("--allow-file-access-from-files", "--enable-logging=stderr"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *(f"--window-size={width + 100},1000", "--virtual-time-budget=5000"),
            *("--dump-dom", (folder / "frame.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    measured = re.search(r'id="measured">(.+?)</pre>', result.stdout)
    assert measured, result.stdout
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(measured[1]), console


def luminance(colour):
    """The relative luminance of "rgb(r, g, b)", by the definition of WCAG 2."""
    shares = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [
        s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
    ]
    return sum(w * s for w, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_window_and_can_be_read(report, width, dark):
    measured, console = browse(report, width=width, dark=dark)
    assert console == []
    assert measured["images"] >= 2
    assert measured["width"] <= width
    text, background = luminance(measured["text"]), luminance(measured["background"])
    assert (background < 0.2) == dark
    low, high = sorted((text, background))
    assert (high + 0.05) / (low + 0.05) >= 4.5  # what WCAG 2 asks of text
