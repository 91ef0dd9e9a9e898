"""The real TensorBoard, W&B (offline), MLflow (SQLite) and trackio: what they were given is read back from them."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from lehr.integrations import trackers

KINDS = ("csv", "tensorboard", "wandb", "mlflow", "trackio")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated"),  # MLflow's, of SQLAlchemy's
    pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow.*"),
]


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """One for the session: MLflow takes ten seconds to make its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="session", autouse=True)
def places(database, tmp_path_factory):
    """Where MLflow and trackio write; trackio reads it when it is imported, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", database)
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        patch.delenv("WANDB_MODE", raising=False)
        yield


# what they have -------------------------------------------------------------------------------------------------------


def tensorboard(folder):
    """Name to [(step, value)], of the event files as they are: nothing is purged, thinned or merged."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
    events.Reload()
    points = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    texts = {
        tag: [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }
    return points | texts


def records(data, head=7, block=32_768):
    """The records of a .wandb file, LevelDB's log format: parts of crc32, length, kind, in blocks of 32 KiB."""
    at, whole = head, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]  # whole, first, middle, last: 1 to 4
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield whole
            whole = b""


def wandb(folder):
    """The rows of every offline run that `wandb sync` would send, in the order in which it would."""
    rows = []
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime_ns):
        for data in records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append(
                    {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                    | {"_step": record.history.step.num}
                )
    return rows


def near(points, wanted):
    """TensorBoard has float32."""
    steps, numbers = zip(*points, strict=True)
    return steps == tuple(s for s, _ in wanted) and numbers == pytest.approx([value for _, value in wanted], rel=1e-6)


def runs(folder):
    state = json.loads((folder / "trackers.json").read_text())
    return {kind: state[kind]["id"] for kind in state}


def mlflow(uri, folder):
    """Name to [(step, value)] of the run that is not deleted, in the order in which they were logged."""
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(runs(folder)["mlflow"])
    assert run.info.lifecycle_stage == "active"
    found = client.search_runs([run.info.experiment_id], f"tags.mlflow.runName = '{folder.name}'")
    assert [r.info.run_id for r in found] == [run.info.run_id], "one run, whatever the sessions"
    points = {}
    for name in run.data.metrics:
        history = sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: (m.step, m.timestamp))
        points[name] = [(m.step, m.value) for m in history]
    return points, run


def trackio(folder, project="lehr"):
    code = "import json, sys; from trackio.sqlite_storage import SQLiteStorage as S; p, r = sys.argv[1:];"
    code += "print(json.dumps([S.get_runs(p), S.get_logs(p, r, max_points=None)]))"
    words = [sys.executable, "-c", code, project, runs(folder)["trackio"]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    names, rows = json.loads(done.stdout.splitlines()[-1])
    assert [n for n in names if n.startswith(folder.name)] == [runs(folder)["trackio"]], (
        "one run, whatever the sessions"
    )
    return rows


# alone, in anyone's loop ----------------------------------------------------------------------------------------------


def values(step, offset=0.0):
    lr = {"body": 0.1 * step, "head": 0.2 * step}
    planned = {"lr_planned": 0.1 * step, "loss": 1 / (step + 1) + offset, "grad_norm": 2.0 + step}
    return {"lr": lr, **planned, "phase": "warmup" if step < 3 else "decay"}


@pytest.mark.parametrize("stop", ["closed", "cut off"])
def test_each_has_what_was_logged_and_goes_on_without_holes_or_duplicates(database, tmp_path, stop):
    folder = tmp_path / f"run-{os.getpid()}-{stop[:3]}"
    where = {}
    start = 6 if stop == "closed" else 4  # cut off: two rows were logged after the last checkpoint
    asked = dict.fromkeys(KINDS, True)
    config = {"optimizer": {"lr": 0.1, "betas": (0.9, 0.95)}, "text": "linear 10 to 1"}
    for first, last, offset in ((0, 6, 0.0), (start, 10, 0.5)):
        with trackers.open(folder, start=first, config=config, **asked) as tracker:
            where = tracker.where
            for step in range(first, last):
                tracker.log(step, values(step, offset))
    expected = [values(step, 0.5 if step >= start else 0.0) for step in range(10)]
    losses = [(step, row["loss"]) for step, row in enumerate(expected)]

    found = tensorboard(folder / "tensorboard")
    assert near(found["loss"], losses) and near(found["lr/head"], [(s, 0.2 * s) for s in range(10)])
    assert found["phase"] == [(0, "warmup"), (3, "decay")], "a text where it changes"
    rows = wandb(folder)
    assert [(row["step"], row["loss"]) for row in rows] == losses and [row["_step"] for row in rows] == list(range(10))
    assert rows[9]["lr/head"] == pytest.approx(1.8) and rows[9]["phase"] == "decay"
    points, run = mlflow(database, folder)
    assert points["loss"] == losses and points["lr/body"] == [(s, 0.1 * s) for s in range(10)]
    assert run.data.params["optimizer.betas.1"] == "0.95" and run.data.tags["phase"] == "decay"
    assert run.info.status == "FINISHED"
    rows = trackio(folder)
    assert [(row["step"], row["loss"]) for row in rows] == losses and rows[4]["phase"] == "decay"

    assert where["tensorboard"] == f"tensorboard --logdir {folder / 'tensorboard'}"
    assert where["wandb"].startswith(f"wandb sync {folder / 'wandb' / 'offline-run-'}")
    assert where["mlflow"].startswith(f"mlflow ui --backend-store-uri {database} (experiment lehr, run ")
    assert where["trackio"].startswith(f"trackio show --project lehr (run {folder.name}-")


def test_names_choose_project_experiment_and_log_folder(database, tmp_path):
    asked = {"tensorboard": str(tmp_path / "all"), "wandb": "mine", "mlflow": "mine", "trackio": "mine"}
    folder = tmp_path / f"run-{os.getpid()}-named"
    with trackers.open(folder, **asked) as tracker:
        tracker.log(0, {"loss": math.nan, "odd[name]*": 1.0})
        assert tracker.where["tensorboard"] == f"tensorboard --logdir {tmp_path / 'all'}"
        assert "--project mine" in tracker.where["trackio"] and "experiment mine" in tracker.where["mlflow"]
    assert math.isnan(tensorboard(tmp_path / "all" / folder.name)["loss"][0][1])
    points, _ = mlflow(database, folder)
    assert math.isnan(points["loss"][0][1]) and points["odd_name__"] == [(0, 1.0)]
    assert len(trackio(folder, "mine")) == len(wandb(folder)) == 1


def test_wandb_is_left_alone_where_the_users_environment_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with trackers.open(tmp_path / "run", wandb=True) as tracker:
        tracker.log(0, {"loss": 1.0})
        assert tracker.where == {"wandb": "WANDB_MODE=disabled"}
    assert not list((tmp_path / "run").glob("wandb/offline-run-*"))


def test_a_run_that_was_deleted_there_is_begun_anew(database, tmp_path):
    folder = tmp_path / f"run-{os.getpid()}-gone"
    for start in (0, 2):
        with trackers.open(folder, start=start, mlflow=True, trackio=True) as tracker:
            for step in (start, start + 1):
                tracker.log(step, {"loss": 1.0})
        if not start:
            import trackio as library

            MlflowClient(tracking_uri=database).delete_run(runs(folder)["mlflow"])
            (run,) = [r for r in library.Api().runs("lehr") if r.name == runs(folder)["trackio"]]
            run.delete()
    assert mlflow(database, folder)[0]["loss"] == [(step, 1.0) for step in range(4)]
    assert [row["step"] for row in trackio(folder)] == [0, 1, 2, 3]


def test_another_project_begins_a_run_there_and_leaves_the_old_one(tmp_path):
    folder = tmp_path / f"run-{os.getpid()}-moved"
    for start, project in ((0, "old"), (1, "new")):
        with trackers.open(folder, start=start, wandb=project, trackio=project) as tracker:
            tracker.log(start, {"loss": 1.0})
        assert [row["step"] for row in trackio(folder, project)] == [0, 1][: start + 1]
    assert [row["step"] for row in wandb(folder)] == [0, 0, 1]


# lehr train -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"{i}. Tiger Tiger, burning bright,\n" for i in range(2000)))
    return path


def train(text, out, *words, stop=None, rows=60):
    """Run `lehr train` under all trackers, or stop it by a signal once its log has so many rows."""
    command = [sys.executable, "-m", "lehr", "train", "--preset", "debug", "--data", text, "--out", out, "--steps", 400]
    command += [word for kind in KINDS for word in ("--set", f"track.{kind}=true")]
    command += ["--set", "train.eval_every=40", "--set", "train.checkpoint_every=40", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = open(out.parent / "said.txt", "w+")  # noqa: SIM115 - closed below
    process = subprocess.Popen(list(map(str, command)), env=env, stdout=said, stderr=subprocess.STDOUT)
    log = out / "metrics.jsonl"
    while stop and process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= rows):
        time.sleep(0.01)
    if stop:
        process.send_signal(stop)
    code = process.wait(timeout=240)
    said.seek(0)
    with said:
        return code, said.read()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_goes_on_in_every_tracker(text, tmp_path, database, stop):
    out = tmp_path / f"run-{os.getpid()}-{stop.name}"
    code, said = train(text, out, stop=stop)
    assert code == (143 if stop == signal.SIGTERM else -9), said
    code, said = train(text, out, "--resume")
    assert code == 0, said
    assert said.count("track    ") == len(KINDS) and f"track    wandb: wandb sync {out / 'wandb'}" in said

    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    updates = [row for row in rows if "loss" in row]
    evaluations = [(row["step"], row["val_loss"]) for row in rows if "val_loss" in row]
    assert [row["step"] for row in updates] == list(range(400)) and len(evaluations) == 11
    for name in ("lr", "loss", "grad_norm"):
        wanted = [(row["step"], row[name]) for row in updates]
        assert near(tensorboard(out / "tensorboard")[name], wanted)
        assert mlflow(database, out)[0][name] == wanted
    for found in (wandb(out), trackio(out)):
        assert [(r["step"], r["lr"], r["loss"]) for r in found if "loss" in r] == [
            (r["step"], r["lr"], r["loss"]) for r in updates
        ]
        assert [(r["step"], r["val_loss"]) for r in found if "val_loss" in r] == evaluations
        assert all(r["lr"] == r["lr/decay"] == r["lr/no_decay"] == r["lr_planned"] for r in found if "loss" in r)
    sessions = list((out / "wandb").glob("*offline-run-*"))
    replaced = [path for path in sessions if path.name.startswith("replaced-")]
    assert len(sessions) == 2 and len(replaced) == (stop == signal.SIGKILL)
