"""Kills one run many times, resumes it each time, and compares it with the run that nobody disturbed.

    python tests/soak.py [--kills 100] [--seed N] [--steps 2000]

Each life ends in one of four ways, drawn at random: SIGKILL after a random time, SIGKILL before a random write, fsync,
rename, unlink or mkdir, SIGTERM or SIGINT after a random time. Now and then a bit of the newest checkpoint is flipped
in between, as a bad disk would. At the end weights, optimizer, random states and every log row have to be those of the
uninterrupted run, bit for bit. Then the same with a cooldown that branches off the run, and with the run under a
changed plan, up to a quarter as often. Processes are forked from one that has imported torch (tests/forks.py), so a
kill costs a fraction of a second.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from processes import Forks, resume, same_end, steps, timeless, train

from lehr.train.folders import all_folders, verify


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.kills} kills of one run of {options.steps} updates", flush=True)
    with tempfile.TemporaryDirectory() as name:
        forks = Forks(Path(name))
        try:
            return soak(forks, Path(name), options.kills, options.seed, options.steps)
        finally:
            forks.close()


def soak(forks: Forks, folder: Path, kills: int, seed: int, last: int) -> int:
    """Return the exit status: 0 if both runs are the same."""
    rng, began = random.Random(seed), time.monotonic()
    text = folder / "text.txt"
    text.write_text("".join(f"{i}. Tiger Tiger, burning bright, in the forests of the night;\n" for i in range(500)))
    settings = {
        "train__steps": last, "train__checkpoint_every": 10, "train__eval_every": 50, "train__micro_batch_size": 2,
        "model__dropout": 0.1, "train__seed": seed, "schedule__lr": "linear 5% to 1, hold rest",
    }  # fmt: skip
    whole, end = folder / "whole", last + last // 2
    longer = ("--steps", end, "--schedule", "linear 5% to 1, cosine rest to 0.1", "--on-mismatch", "extend")

    def changed(run: Path) -> list[str]:
        if not run.exists():
            shutil.copytree(whole, run)
        return resume(run, *longer)

    chapters = {
        "run": (lambda run: [*train(text, run, **settings), "--resume-or-start"], kills, last),
        "cooldown": (
            lambda run: ["train", "--cooldown-from", whole, "--over", "50%", "--out", run, "--resume-or-start"],
            kills // 4,
            end,
        ),
        "changed plan": (changed, kills // 4, end),
    }
    alike = True
    for name, (command_for, times, at) in chapters.items():
        undisturbed = whole if name == "run" else folder / f"{name} whole"
        done = forks.run(*command_for(undisturbed), plain=True, seconds=600)
        assert done.status == 0, done.err
        print(f"{name}, uninterrupted: {time.monotonic() - began:.1f} s", flush=True)
        broken = folder / f"{name} broken"
        command = command_for(broken)
        if harass(forks, rng, command, broken, times) < times and name == "run":
            print("the run came to its end in spite of it all: give it more --steps", file=sys.stderr)
            return 1
        done = forks.run(*command, plain=True, seconds=600)
        assert done.status == 0, done.err
        same = {"log rows": timeless(broken) == timeless(undisturbed)}
        same["weights and state"] = same_end(broken, undisturbed, at)
        words = ", ".join(f"{what} {'equal, bit for bit' if equal else 'DIFFER'}" for what, equal in same.items())
        print(f"{name}: {words}; {time.monotonic() - began:.0f} s", flush=True)
        alike &= all(same.values())
    return 0 if alike else 1


def harass(forks: Forks, rng: random.Random, command: list[str], broken: Path, kills: int) -> int:
    """End a run so many times, or until it comes to its own end; say how, and return how often."""
    began = time.monotonic()
    counts: dict[str, int] = {}
    flipped = b""
    for kill in range(kills):
        way = rng.choice(("SIGKILL", "SIGKILL at a call", "SIGTERM", "SIGINT"))
        if way == "SIGKILL at a call":
            process = forks.start(*command, plain=True, kill_at=rng.randrange(1, 80))
        else:
            process = forks.start(*command, plain=True)
            time.sleep(rng.uniform(0.02, 0.3))
            process.send(getattr(signal, way))
        status = process.wait(120)
        if status == 0:
            break
        # a signal before the run listens kills it as it kills any process
        expected = {"SIGTERM": (143, -15), "SIGINT": (130,)}.get(way, (-9,))
        assert status in expected, (way, status, process.err)
        counts[way] = counts.get(way, 0) + 1
        for _, path in all_folders(broken / "checkpoints"):
            if (path / "model.safetensors").read_bytes() != flipped:  # that life may have ended before it was found
                verify(path)
        there = steps(broken)
        if len(there) > 2 and rng.random() < 0.1:
            file = broken / "checkpoints" / f"step-{there[-1]:08d}" / "model.safetensors"
            data = bytearray(file.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(flipped := bytes(data))
            counts["a bit flipped"] = counts.get("a bit flipped", 0) + 1
        if kill % 10 == 9:
            print(f"{kill + 1} kills, checkpoints {there}, {time.monotonic() - began:.0f} s", flush=True)
    print(", ".join(f"{count} x {way}" for way, count in sorted(counts.items())), flush=True)
    return sum(counts.values()) - counts.get("a bit flipped", 0)


if __name__ == "__main__":
    sys.exit(main())
