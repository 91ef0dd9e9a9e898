"""docs/why.md: its pictures can be drawn again, and its numbers are lehr's."""

import os
import re
import subprocess
import sys
from pathlib import Path

from matplotlib import image

import lehr

DOCS = Path(__file__).parent.parent / "docs"


def test_the_pages_pictures_and_table_are_made_by_lehr(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", DOCS / "make_why.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    page = (DOCS / "why.md").read_text()
    assert (tmp_path / "why.md").read_text() == page
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    shown = re.findall(r"\]\(([a-z-]+\.png)\)", page)
    assert len(drawn) == 4 and sorted(shown) == sorted(["train.png", *drawn])
    for name in drawn:
        assert image.imread(tmp_path / name).std() > 0.02, "an empty picture is all white"
        assert (DOCS / name).stat().st_size < 60_000 and image.imread(DOCS / name).shape[1] > 800


def test_the_numbers_in_its_sentences_are_lehrs():
    page = " ".join((DOCS / "why.md").read_text().split())
    stops = re.search(r"One made for twice the run is still at ([\d.]+) .* for 1.25 times at ([\d.]+),", page)
    lrs = [lehr.cosine(int(share * 10_000), 200)(9_999) for share in (2, 1.25)]
    assert [f"{lr:.3f}" for lr in lrs] == list(stops.groups())
    rule = re.search(r"tune: (\d+) for 0.95, (\d+) for 0.98, (\d+) for 0.99, (\d+) for 0.999", page)
    warmups = [lehr.untuned_linear(3000, beta2).joints[1] for beta2 in (0.95, 0.98, 0.99, 0.999)]
    assert [str(warmup) for warmup in warmups] == list(rule.groups())


READ = {"1908.03265", "1910.04209", "2203.15556", "2205.10287", "2309.14322", "2310.07831", "2404.06395", "2405.15682"}
READ |= {"2405.18392", "2406.09405", "2406.19146", "2408.13359", "2410.05192", "2410.23922", "2501.18965", "2502.15938"}
READ |= {"2503.04715", "2503.12811", "2606.29158"}


def test_only_papers_that_were_read_are_cited():
    # to cite another one read it, and add it
    assert set(re.findall(r"\d{4}\.\d{5}", (DOCS / "why.md").read_text())) == READ
