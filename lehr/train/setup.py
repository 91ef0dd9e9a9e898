"""From a configuration to the parts of a run: what was left open is decided, by fixed rules that can be read here."""

import itertools
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lehr
from lehr.clock import Clock
from lehr.integrations.trackers import check_installed
from lehr.muon import Muon, muon_groups
from lehr.nn import TransformerLM
from lehr.optimizer import AdamW, param_groups
from lehr.schedule import Schedule
from lehr.spec import parse
from lehr.train import config as configs
from lehr.train import pages, sharded
from lehr.train.config import Config
from lehr.train.data import Corpus, Windows, load_corpus
from lehr.train.durable import make_folder, replace_text
from lehr.train.estimate import check_fits, memory
from lehr.train.parallel import World
from lehr.train.runs import count_parameters
from lehr.train.snapshot import seed_all
from lehr.train.tokenizer import Characters, Subwords

BFLOAT16_WIDTH = 64  # on a CPU a 4-layer model of this width gained 1.8x; narrower, and CUDA, were not measured

# what may differ on --resume: it changes no update (the size of a micro-batch does where there is dropout). Everything
# else would, and is refused.
FREE = (
    *("train.log_every", "train.eval_every", "train.eval_batches", "train.checkpoint_every", "train.keep"),
    *("train.device", "train.compile", "model.checkpoint_activations", "train.micro_batch_size", "train.on_nonfinite"),
    *("train.parallel", "train.timeout"),  # a batch is the same on any number of processes
    *("data.path", "data.field", "data.dtype", "data.tokenizer"),  # what was read is compared by its fingerprint
)
PLAN = ("train.steps", "optimizer.lr", "schedule.lr")  # what may change where --on-mismatch says how


@dataclass(frozen=True)
class Parts:
    """What the loop works on. `given` is the schedule's text before it was resolved to steps; `trained` is the model as
    the processes of `world` train it (`sharded.wrapped`).

    `world` is last, so that the process group outlives the model: Python frees a group without its lock, but DDP's
    reducer with it, and a thread of gloo's that wants the lock for the last collective would then hang the process.
    """

    config: Config
    given: str
    corpus: Corpus
    windows: Windows
    schedule: Schedule
    model: TransformerLM
    optimizer: AdamW
    trained: nn.Module
    world: World = field(default_factory=World)

    @property
    def micro_batch(self) -> int:
        """Sequences that a process takes at once: no more than its share."""
        return min(self.config.train.micro_batch_size, self.config.train.batch_size // self.world.size)

    @property
    def device(self) -> torch.device:
        return torch.device(self.config.train.device)

    @property
    def tokens_per_step(self) -> int:
        return self.config.train.batch_size * self.config.model.context_length

    @property
    def checkpoint_bytes(self) -> int:
        """About what a checkpoint takes on the disk: weights, and the optimizer's moments."""
        return memory(self.config, sum(p.numel() for p in self.model.parameters())).snapshot + 40_000

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of this process's rows of a batch, on the device; CUDA copies them while it works."""
        inputs, targets = self.windows.batch(step)
        if self.device.type == "cuda":
            inputs, targets = inputs.pin_memory(), targets.pin_memory()
        return inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)

    def autocast(self) -> torch.autocast:
        """The context of forward passes: bfloat16 products where the run's precision says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.precision == "bfloat16")


def build(config: Config, world: World | None = None, plan_only: bool = False) -> Parts:
    """Read the text, resolve the configuration, and make schedule, model and optimizer from the seed.

    Every process of a `world` makes the same, but for its rows of each batch and its random states from here on.
    `plan_only`: the model has shapes and no numbers, so that it may be larger than the memory.
    Raises ValueError, OSError or ModuleNotFoundError for what cannot be, before anything is written.
    """
    world = world or World()
    given = config.schedule.lr
    corpus, config, windows = world.together(partial(_read, config, world))
    for rank, (source, fingerprint) in enumerate(world.gather((corpus.source, corpus.fingerprint))):
        if fingerprint != corpus.fingerprint:
            raise ValueError(
                f"the text of rank {rank} is another than that of rank 0: {source} [{fingerprint}] and {corpus.source} "
                f"[{corpus.fingerprint}]; give every machine the same files"
            )
    if plan_only:
        with torch.device("meta"):
            model = TransformerLM(**configs.to_dict(config)["model"])
        optimizer = make_optimizer(config, model)
        return Parts(config, given, corpus, windows, parse(config.schedule.lr), model, optimizer, model, world)
    if config.train.device == "cpu":
        parameters = count_parameters(configs.to_dict(config)["model"])
        check_fits(memory(config, parameters, world.size, world.mode == "fsdp"), parameters)
        pages.keep_or_return(memory(config, parameters).state)
    elif config.train.device.startswith("cuda:"):  # the current device from here on: its random state is the run's
        torch.cuda.set_device(config.train.device)
    seed_all(config.train.seed)
    model = make_model(config)
    trained = sharded.wrapped(model, world)
    if world.rank:  # the same weights, another dropout
        seed_all(config.train.seed + world.rank * 0x9E3779B97F4A7C15 % 2**62)
    schedule, optimizer = parse(config.schedule.lr), make_optimizer(config, model)
    return Parts(config, given, corpus, windows, schedule, model, optimizer, trained, world)


def _read(config: Config, world: World) -> tuple[Corpus, Config, Windows]:
    """The text, the resolved configuration, and the windows of this process."""
    check_installed(asdict(config.track), "track.")
    data = config.data
    corpus = load_corpus(data.path, data.tokenizer, data.val_fraction, data.field, data.dtype)
    if len(corpus.val) < 2:
        raise ValueError(
            f"the held-out split has {len(corpus.val)} tokens and needs 2; "
            "give more text, or --set data.val_fraction=0.2"
        )
    config = resolve(config, corpus)
    if world.mode == "fsdp" and config.optimizer.name == "muon":
        raise ValueError(
            "optimizer.name=muon turns whole matrices, which train.parallel=fsdp splits; "
            "write --set train.parallel=ddp, or --set optimizer.name=adamw"
        )
    settings = config.train
    rows = world.rows(settings.batch_size)
    windows = Windows(corpus.train, config.model.context_length, settings.batch_size, settings.seed, rows)
    return corpus, config, windows


def make_model(config: Config) -> TransformerLM:
    """The model of a resolved configuration, on its device."""
    return TransformerLM(**configs.to_dict(config)["model"]).to(config.train.device)


def make_optimizer(config: Config, model: TransformerLM) -> AdamW:
    """The optimizer that `config.optimizer.name` says, with decay on matrices only."""
    settings = config.optimizer
    shared: dict[str, Any] = {"lr": settings.lr, "betas": settings.betas, "eps": settings.eps}
    if settings.name == "adamw":
        return AdamW(param_groups(model, settings.weight_decay), **shared)
    matrices, *others = muon_groups(model, model.layers, settings.weight_decay)
    dtype = torch.bfloat16 if config.train.precision == "bfloat16" else torch.float32
    groups = [matrices | {"lr_ratio": settings.matrix_lr_ratio}, *others]
    return Muon(groups, momentum=settings.momentum, dtype=dtype, **shared)


def new_folder() -> Path:
    """Make a run's folder named by the time, which no other run has even if it starts in the same second."""
    name = time.strftime("%Y-%m-%d-%H%M%S")
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            make_folder(folder, new=True)
            break
        except FileExistsError:
            continue
    return folder


def resolve(config: Config, corpus: Corpus) -> Config:
    """Fill in what was left open: vocabulary, device, precision, micro-batch, and the schedule in steps."""
    vocab_size = config.model.vocab_size or corpus.tokenizer.vocab_size
    if vocab_size < corpus.tokenizer.vocab_size:
        raise ValueError(
            f"model.vocab_size={vocab_size} is smaller than the tokenizer's {corpus.tokenizer.vocab_size}; "
            f"leave it out, or write --set model.vocab_size={corpus.tokenizer.vocab_size}"
        )
    train = config.train
    device = train.device or choose_device()
    there = torch.cuda.device_count() if device.startswith("cuda") else int(torch.backends.mps.is_available())
    if device != "cpu" and int(device.partition(":")[2] or 0) >= there:
        raise ValueError(f"train.device is {device!r}, which this machine lacks; write --set train.device=cpu")
    precision = train.precision or choose_precision(device, config.model.d_model)
    schedule = parse(config.schedule.lr, clock_of(config, corpus))
    micro = train.micro_batch_size or train.batch_size
    return replace(
        config,
        data=replace(config.data, tokenizer=corpus.tokenizer_name),
        model=replace(config.model, vocab_size=vocab_size),
        schedule=replace(config.schedule, lr=str(schedule)),
        train=replace(train, device=device, precision=precision, micro_batch_size=micro),
    )


def clock_of(config: Config, corpus: Corpus) -> Clock:
    """What turns the durations of a run's schedule into its updates."""
    return Clock(
        total_steps=config.train.steps,
        tokens_per_step=config.train.batch_size * config.model.context_length,
        samples_per_step=config.train.batch_size,
        steps_per_epoch=steps_per_epoch(config, corpus),
    )


def steps_per_epoch(config: Config, corpus: Corpus) -> float:
    """Updates in one pass over the training text."""
    return max(len(corpus.train) // config.model.context_length, 1) / config.train.batch_size


def choose_device() -> str:
    """cuda, mps or cpu, whichever is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_precision(device: str, d_model: int) -> str:
    """bfloat16 where the hardware multiplies it and the model is wide enough to gain; never timed, so never different.

    From a width of 64, on CUDA from compute capability 8.0 and on a CPU with AVX512-BF16 or AMX; else float32.
    """
    if device.startswith("cuda"):
        supported = torch.cuda.get_device_capability(torch.device(device)) >= (8, 0)
    elif device == "cpu":
        supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        supported = False
    return "bfloat16" if supported and d_model >= BFLOAT16_WIDTH else "float32"


def versions() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {"lehr": lehr.__version__, "torch": torch.__version__, "python": platform.python_version()}


def write_config(folder: Path, parts: Parts, history: Mapping[str, Any]) -> None:
    """Write `config.json`: the resolved sections, the schedule's text as given, the text's fingerprint, versions.

    `history` has the run's parent, and what became of its plan on resume: see `lehr.train.resume`.
    """
    facts = {
        **configs.to_dict(parts.config),
        "given": {"schedule": {"lr": parts.given}},
        "text": text_facts(parts.corpus),
        "versions": versions(),
        **history,
    }
    if isinstance(parts.corpus.tokenizer, Subwords):  # the run stays readable when the file is gone
        replace_text(folder / "tokenizer.json", parts.corpus.tokenizer.text)
    replace_text(folder / "config.json", json.dumps(facts, indent=2) + "\n")


def text_facts(corpus: Corpus) -> dict[str, str]:
    """What a run was trained on: where it came from, its fingerprint and the tokenizer's, and characters' alphabet."""
    facts = {"source": corpus.source, "fingerprint": corpus.fingerprint, "tokenizer": corpus.tokenizer.fingerprint}
    return facts | ({"alphabet": corpus.tokenizer.alphabet} if isinstance(corpus.tokenizer, Characters) else {})


def check_same(folder: Path, parts: Parts, other_data: bool = False) -> None:
    """Refuse to resume under settings that would change an update, the plan left out. ValueError names the first.

    `other_data`: another text is allowed, but never other ids for the same text.
    """
    saved, now = configs.read(folder), configs.to_dict(parts.config)
    defaults = configs.to_dict(Config())  # a run may be older than a key
    dropout = now["model"]["dropout"] > 0  # whose draws follow one another by micro-batches
    for section in ("train", "model", "data", "optimizer", "schedule"):
        for key, value in now[section].items():
            name, was = f"{section}.{key}", saved[section].get(key, defaults[section][key])
            if value != was and (name not in (*FREE, *PLAN) or (dropout and name == "train.micro_batch_size")):
                raise ValueError(
                    f"{name} was {was!r} in {folder} and is {value!r} now, which would change the run; "
                    f"resume with the same settings, or train into another --out"
                )
    before, here = saved["text"], text_facts(parts.corpus)
    same = saved["data"]["tokenizer"] == now["data"]["tokenizer"]  # for runs of before the fingerprint
    if before["tokenizer"] != here["tokenizer"] if "tokenizer" in before else not same:
        raise ValueError(
            f"the tokenizer is not the one that {folder} was trained with (to char belong the text's characters); "
            f"give the same, or another --out"
        )
    if before["fingerprint"] != here["fingerprint"] and not other_data:
        raise ValueError(
            f"the text is not the one that {folder} was trained on: {before['source']} [{before['fingerprint']}], now "
            f"{here['source']} [{here['fingerprint']}]; give the same --data, allow it with --allow-other-data, or "
            f"train into another --out"
        )
