"""Draw the pictures of docs/why.md and write its table: `python docs/make_why.py [FOLDER]`.

A test runs it into another folder and compares the page, so that the page says what the code does.
"""

import sys
from pathlib import Path

from PIL import Image  # comes with matplotlib

import lehr
from lehr import Schedule, parse, plot

PAGE = Path(__file__).with_name("why.md")
MARK, END = "<!-- decays: made by make_why.py -->\n", "<!-- end of decays -->"
TOTAL = 10_000

# The decays that the page compares: all with the peak at once, to see the decay alone
DECAYS = {
    "linear to 0": "linear 100% from 1 to 0",
    "cosine to 0": "cosine 100% from 1 to 0",
    "cosine to 10 %": "cosine 100% from 1 to 0.1",
    "exponential to 10 %": "exponential 100% from 1 to 0.1",
    "exponential to 1 %": "exponential 100% from 1 to 0.01",
    "exponential to 0.1 %": "exponential 100% from 1 to 0.001",
    "WSD, last 20 % linear": "hold rest, linear 20% to 0",
    "WSD, last 20 % 1-sqrt": "hold rest, sqrt 20% to 0",
}


def pictures() -> dict[str, dict[str, Schedule]]:
    """The schedules of each picture."""
    drawn = ("linear to 0", "cosine to 10 %", "exponential to 1 %", "WSD, last 20 % 1-sqrt")
    stable = parse(f"linear 200 to 1, hold {TOTAL}")
    ends = (4000, 7000, TOTAL)
    return {
        "why-warmup": {
            f"beta2 = {beta2}: {lehr.untuned_linear(3000, beta2).joints[1]:,} updates": lehr.untuned_linear(3000, beta2)
            for beta2 in (0.999, 0.99, 0.98, 0.95)
        },
        "why-decay": {name: parse(DECAYS[name], total=TOTAL) for name in drawn},
        "why-horizon": {
            f"cosine for {TOTAL * share // 100:,} updates": lehr.cosine(TOTAL * share // 100, 200)
            for share in (100, 125, 200)
        },
        "why-branches": {
            f"cooldown to a model at {end:,}": stable.cooldown(at=end * 8 // 10, over=end * 2 // 10) for end in ends
        },
    }


def table() -> str:
    """How much learning rate each decay spends, and where: area, share of the time at 70 % and more, and below 10 %."""
    lines = [
        "| decay, from the peak on | area / (peak * T) | time at 70 % of the peak or more | time below 10 % |",
        "|---|---:|---:|---:|",
    ]
    for name, text in DECAYS.items():
        schedule = parse(f"{text}, sampled at start", total=TOTAL)
        values = [schedule(step + 0.5) for step in range(TOTAL)]  # the middle of each update's span
        high = sum(value >= 0.7 for value in values) / TOTAL
        low = sum(value < 0.1 for value in values) / TOTAL
        lines.append(f"| {name} | {sum(values) / TOTAL:.3f} | {100 * high:.1f} % | {100 * low:.1f} % |")
    return "\n".join(lines)


def filled(page: str) -> str:
    """The page with its table made anew."""
    before, rest = page.split(MARK)
    return f"{before}{MARK}{table()}\n{END}{rest.split(END)[1]}"


def draw(folder: Path) -> None:
    """Draw every picture into a folder."""
    for name, schedules in pictures().items():
        shown = TOTAL if name == "why-horizon" else None  # where the run of 10,000 updates ends
        out = folder / f"{name}.png"
        plot.save_schedules(schedules, out, total=shown)
        picture = Image.open(out).convert("RGB").quantize(64)  # a line drawing in 64 colours takes a third of the bytes
        picture.save(out, optimize=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE.parent
    draw(folder)
    (folder / PAGE.name).write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
