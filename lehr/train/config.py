"""What a run is: six sections of plain values, from defaults, a TOML file and `--set section.key=value`.

The field names are those of `config.json`. Every section is checked when it is made: an impossible value is a
ValueError that names its key.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lehr.words import nearest, read_number

PRECISIONS = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda", "mps")
WORDS = ("bytes", "char", "none")  # what data.tokenizer may be beside a file
DTYPES = ("uint8", "uint16", "uint32")
PARALLEL = ("none", "ddp", "fsdp")
OPTIMIZERS = ("adamw", "muon")
MUONS = ("momentum", "matrix_lr_ratio")  # what only Muon looks at
ON_NONFINITE = ("stop", "skip", "rollback")
PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Model:
    """The transformer; the same names as `lehr.nn.TransformerLM`."""

    vocab_size: int = 0  # 0: the tokenizer's
    context_length: int = 128
    d_model: int = 192
    num_layers: int = 4
    num_heads: int = 6
    d_ff: int = 512
    rope_theta: float = 10000.0
    dropout: float = 0.0
    checkpoint_activations: bool = False  # less memory for more time, and the same numbers


@dataclass(frozen=True)
class Data:
    """Where the text comes from: files, folders, globs. No path: the source of Python's standard library."""

    path: tuple[str, ...] = ()
    tokenizer: str = ""  # empty: bytes, or the token ids' own
    val_fraction: float = 0.1
    field: str = "text"  # of JSON lines and datasets
    dtype: str = "uint16"  # of .bin arrays, which do not say


@dataclass(frozen=True)
class Optimizer:
    """AdamW, or Muon for the matrices of the layers (`name = "muon"`), and clipping; `lr` is the peak."""

    name: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    max_grad_norm: float = 1.0
    momentum: float = 0.95  # Muon's
    matrix_lr_ratio: float = 1.0  # Muon's: the matrices' LR as a multiple of `lr`, at every step


@dataclass(frozen=True)
class ScheduleTexts:
    """Schedule texts (`lehr.parse`), multipliers of the peak; resolved to steps in `config.json`."""

    lr: str = "linear 5% to 1, cosine rest to 0.1"


@dataclass(frozen=True)
class Train:
    """The loop. `batch_size` is sequences per update over all processes; each takes `micro_batch_size` of its share at
    once, or the whole share for 0.
    """

    steps: int = 600
    batch_size: int = 16
    micro_batch_size: int = 0
    seed: int = 0
    precision: str = ""  # empty: by rule, see train.setup.choose_precision
    compile: bool = False
    device: str = ""  # empty: cuda, mps or cpu, whichever is there
    log_every: int = 1
    eval_every: int = 100
    eval_batches: int = 16
    checkpoint_every: int = 200
    keep: int = 3
    on_nonfinite: str = "stop"  # what follows an update whose loss or gradients are not finite, see train.nonfinite
    parallel: str = ""  # several processes (torchrun): ddp or fsdp; empty: ddp. One process alone is none of them
    timeout: float = 600.0  # seconds that the processes wait for one of them, before it is taken to hang


@dataclass(frozen=True)
class Track:
    """Where the log goes besides `metrics.jsonl`: true, or a project or place; see `lehr.integrations.trackers`."""

    csv: bool | str = False
    tensorboard: bool | str = False
    wandb: bool | str = False
    mlflow: bool | str = False
    trackio: bool | str = False


@dataclass(frozen=True)
class Config:
    """A run's configuration. `str` values left empty and sizes left 0 are resolved when the run starts."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: ScheduleTexts = field(default_factory=ScheduleTexts)
    train: Train = field(default_factory=Train)
    track: Track = field(default_factory=Track)

    def __post_init__(self) -> None:
        for name in _ABOVE_ZERO:
            self._require(name, self._get(name) > 0, "is above 0")
        for name in _NOT_NEGATIVE:
            self._require(name, self._get(name) >= 0, "is 0 or above")
        width, heads = self.model.d_model, self.model.num_heads
        self._require("model.num_heads", width % heads == 0, f"has to divide d_model={width}")
        self._require(
            "model.num_heads", width // heads % 2 == 0, f"gives heads of an even width out of d_model={width}"
        )
        self._require("data.val_fraction", 0 < self.data.val_fraction < 1, "is between 0 and 1")
        self._require("data.dtype", self.data.dtype in DTYPES, f"is one of {', '.join(DTYPES)}")
        self._require("optimizer.betas", all(0 <= beta < 1 for beta in self.optimizer.betas), "are in [0, 1)")
        self._require("optimizer.name", self.optimizer.name in OPTIMIZERS, f"is one of {', '.join(OPTIMIZERS)}")
        self._require("optimizer.momentum", 0 <= self.optimizer.momentum < 1, "is in [0, 1)")
        batch, micro = self.train.batch_size, self.train.micro_batch_size
        self._require("train.micro_batch_size", not micro or batch % micro == 0, f"divides batch_size={batch}")
        self._require("train.precision", self.train.precision in ("", *PRECISIONS), "is float32 or bfloat16")
        modes = self.train.on_nonfinite in ON_NONFINITE
        self._require("train.on_nonfinite", modes, f"is one of {', '.join(ON_NONFINITE)}")
        parallel = self.train.parallel in ("", *PARALLEL)
        self._require("train.parallel", parallel, f"is one of {', '.join(PARALLEL)}")
        self._require("model.dropout", 0 <= self.model.dropout < 1, "is in [0, 1)")
        device, colon, number = self.train.device.partition(":")
        self._require("train.device", device in ("", *DEVICES), f"is one of {', '.join(DEVICES)}")
        # as torch reads it: 01 and the digits of other scripts are none
        numbered = not colon or (device == "cuda" and number.isdecimal() and number == str(int(number)))
        self._require("train.device", numbered, "has a number where it is one GPU of several, such as cuda:1")

    def _get(self, name: str) -> Any:
        section, key = name.split(".")
        return getattr(getattr(self, section), key)

    def _require(self, name: str, condition: bool, what: str) -> None:
        if not condition:
            raise ValueError(f"{name} {what}, not {self._get(name)!r}")


_ABOVE_ZERO = (
    *("model.context_length", "model.d_model", "model.num_layers", "model.num_heads", "model.d_ff", "model.rope_theta"),
    *("optimizer.lr", "optimizer.eps", "optimizer.max_grad_norm", "optimizer.matrix_lr_ratio"),
    *("train.steps", "train.batch_size", "train.log_every", "train.keep", "train.timeout"),
)
_NOT_NEGATIVE = (
    *("model.vocab_size", "optimizer.weight_decay", "train.micro_batch_size", "train.seed"),
    *("train.eval_every", "train.eval_batches", "train.checkpoint_every"),
)


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Return the configuration nested by section, as plain JSON values."""
    return {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for section, values in asdict(config).items()
    }


def from_dict(data: Mapping[str, Any], base: Config | None = None) -> Config:
    """Return `base` (the defaults) with the values of `data` put in.

    Raises ValueError naming a section or key that does not exist (with the nearest one), or a value of the wrong kind.

    >>> from_dict({"train": {"steps": 10}}).train.steps
    10
    >>> from_dict({"train": {"step": 10}})
    Traceback (most recent call last):
    ...
    ValueError: unknown key train.step; did you mean 'steps'?
    """
    config = base or Config()
    changes = {}
    for section, values in data.items():
        names = [f.name for f in fields(Config)]
        if section not in names:
            raise ValueError(
                f"unknown section {section!r}{nearest(section, names) or '; known are ' + ', '.join(names)}"
            )
        if not isinstance(values, Mapping):
            raise ValueError(f"{section} is a section of keys, not {values!r}; write {section}.key=value")
        part = getattr(config, section)
        hints = get_type_hints(type(part))
        for key in values:
            if key not in hints:
                known = nearest(key, hints) or "; known are " + ", ".join(hints)
                raise ValueError(f"unknown key {section}.{key}{known}")
        converted = {key: _convert(f"{section}.{key}", value, hints[key]) for key, value in values.items()}
        changes[section] = replace(part, **converted)
    return replace(config, **changes)


def from_toml(path: Path, base: Config | None = None, later: Sequence[str] = ()) -> Config:
    """Read a TOML file with the sections of `config.json`. Raises ValueError naming the file and the fault.

    `later` are the assignments that will go over it: Muon's keys may stand in a file for one that takes Muon.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if path.suffix != ".toml":
        raise ValueError(f"{path} is not a .toml file; to train on it write --data {path}")
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
        config = from_dict(sections, base)
        pairs = [text.partition("=") for text in later]
        names = [value.strip() for name, _, value in pairs if name.strip() == "optimizer.name"]
        _refuse_idle(sections, config.optimizer.name, *names)
        return config
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None


def presets() -> list[str]:
    """The names that `preset` knows.

    >>> presets()
    ['debug', 'gpt2-124m', 'shakespeare-char', 'tinystories']
    """
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset(name: str, base: Config | None = None) -> Config:
    """Return `base` (the defaults) with a preset's values: a TOML file of `lehr/train/presets`.

    Raises ValueError, with the nearest name, for one that is not there.

    >>> preset("debug").train.steps
    50
    """
    if name not in presets():
        raise ValueError(f"unknown preset {name!r}{nearest(name, presets()) or '; known are ' + ', '.join(presets())}")
    return from_toml(PRESETS / f"{name}.toml", base)


def read(folder: Path) -> dict[str, Any]:
    """Return a run's `config.json`. Raises ValueError if the folder holds no run."""
    try:
        facts: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{folder} holds no run: its config.json is missing or damaged") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{folder} holds no run: its config.json is not one of lehr train")
    return facts


def holds_run(folder: Path) -> bool:
    """Whether a run has begun in the folder. Raises ValueError if it is no folder."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out is the run's folder")
    log = folder / "metrics.jsonl"
    return (folder / "checkpoints").exists() or (log.exists() and log.stat().st_size > 0)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run's first checkpoint was finished, whatever became of it since."""
    return any((folder / "checkpoints").glob("step-*"))


def config_of(facts: Mapping[str, Any]) -> Config:
    """The configuration in a `config.json`: resolved, but the schedule's text as it was given.

    Raises ValueError for the facts of no run.
    """
    sections = {f.name: facts.get(f.name, {}) for f in fields(Config)}  # an older run has fewer
    try:
        given = facts["given"]["schedule"]
    except (KeyError, TypeError):
        raise ValueError(
            "this config.json is not one of lehr train: it does not say which schedule was given"
        ) from None
    return from_dict({**sections, "schedule": given})


def of_run(folder: Path) -> Config:
    """`config_of` a run's folder, with its own copy of a tokenizers file that has gone or been moved since.

    Raises ValueError if the folder holds no run.
    """
    config, copy = config_of(read(folder)), folder / "tokenizer.json"
    gone = config.data.tokenizer not in ("", *WORDS) and not Path(config.data.tokenizer).exists()
    if not (gone and copy.is_file()):
        return config
    return replace(config, data=replace(config.data, tokenizer=str(copy)))


def assign(config: Config, *texts: str) -> Config:
    """Apply assignments `section.key=value`, all at once; of two to the same key the last wins.

    >>> assign(Config(), "model.d_model=64", "model.num_heads=4").model.d_model
    64
    """
    sections: dict[str, dict[str, str]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        section, dot, key = path.strip().partition(".")
        if not (equals and dot and key):
            raise ValueError(f"{text!r} is not an assignment; write section.key=value, such as train.steps=500")
        sections.setdefault(section, {})[key] = value.strip()
    assigned = from_dict(sections, config)
    _refuse_idle(sections, assigned.optimizer.name)
    return assigned


def _refuse_idle(sections: Mapping[str, Mapping[str, Any]], *optimizers: str) -> None:
    """Raise ValueError where Muon's keys are set, and none of the optimizers is Muon."""
    idle = [key for key in MUONS if key in sections.get("optimizer", {})]
    if idle and "muon" not in optimizers:
        raise ValueError(
            f"optimizer.{idle[0]} is Muon's, and optimizer.name is {optimizers[-1]!r}; leave it out, or write "
            "optimizer.name=muon besides"
        )


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Turn a TOML, JSON or command-line value into the field's type."""
    words: dict[Any, bool] = {"true": True, "false": False, True: True, False: False}
    if kind is str:
        if isinstance(value, str):
            return value
    elif kind in (bool, bool | str):
        if isinstance(value, (str, bool)):
            if value in words:
                return words[value]
            if kind is not bool:
                return value or False
    elif kind in (int, float):
        if not isinstance(value, bool) and isinstance(value, (int, float, str)):
            number = _number(name, value)
            if not abs(number) < (1e300 if kind is float else 2**63):  # nor NaN; torch's whole numbers end there
                raise ValueError(f"{name} is beyond what it can be: {value!r}")
            if kind is float:
                return float(number)
            if number == int(number):
                return int(number)
    else:  # a tuple
        if isinstance(value, str):
            value = [part.strip() for part in value.strip("[]()").split(",") if part.strip()]
        item, *rest = get_args(kind)
        if isinstance(value, (list, tuple)) and (rest == [...] or len(value) == 1 + len(rest)):
            return tuple(_convert(name, part, item) for part in value)
    kinds: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    kinds[bool | str] = "true, false, or a name"
    raise ValueError(f"{name} is {kinds.get(kind, 'a list of ' + str(len(get_args(kind))))}, not {value!r}")


def _number(name: str, value: float | str) -> float:
    if not isinstance(value, str):
        return value
    try:
        sign = -1 if value.startswith("-") else 1
        number = sign * read_number(value.removeprefix("-"))
        return int(number) if number.denominator == 1 else float(number)
    except OverflowError:
        raise ValueError(f"{name} is beyond what it can be: {value!r}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
