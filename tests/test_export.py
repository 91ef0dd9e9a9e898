"""Export: transformers opens the folder, and computes and says the same."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

from lehr.cli import main
from lehr.nn import TransformerLM
from lehr.train.bpe import learn
from lehr.train.export import model_card
from lehr.train.runs import open_run
from lehr.train.tokenizer import Subwords

SMALL = (
    *("model.d_model=32", "model.num_heads=4", "model.num_layers=2", "model.d_ff=48", "model.context_length=32"),
    *("train.device=cpu", "train.batch_size=8", "train.eval_every=10", "train.eval_batches=2"),
    *("train.checkpoint_every=10", "model.rope_theta=500"),
)
VERSES = [f"{i}. Tiger Tiger, burning\tbright — in the forests  of the night! é漢\U0001f680\n" for i in range(100)]
PROMPT = "12. Tiger  burning"


@pytest.fixture(scope="module", params=["bytes", "char", "file"])
def exported(request, tmp_path_factory):
    """A run and what was exported from it, for each tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": verse}) + "\n" for verse in VERSES))
    settings = [f"data.tokenizer={request.param}"]
    if request.param == "file":
        (folder / "tokenizer.json").write_text(learn(iter(VERSES), 300))
        settings = [f"data.tokenizer={folder / 'tokenizer.json'}", "model.vocab_size=310"]
    sets = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    words = ["train", "--data", folder / "text.jsonl", "--out", folder / "run", "--steps", 20, "--lr", "1e-2", *sets]
    assert main(list(map(str, words))) == 0
    assert main(["export", str(folder / "run"), "--format", "hf", "--out", str(folder / "hf")]) == 0
    return open_run(str(folder / "run")), folder / "hf"


def test_the_folder_has_what_transformers_wants_and_appears_at_once(exported):
    _, folder = exported
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(os.listdir(folder)) == {*names, "README.md"}
    assert not list(folder.parent.glob(".*")), "nothing is left beside it"


def test_logits_are_the_same(exported):
    run, folder = exported
    theirs, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert type(theirs).__name__ == "LlamaForCausalLM" and theirs.dtype == torch.float32
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = torch.randint(run.facts["model"]["vocab_size"], (3, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, run.model(ids), atol=1e-4, rtol=0)


def test_greedy_text_is_the_same(exported):
    run, folder = exported
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False).input_ids
    assert ids[0].tolist() == run.tokenizer.encode(PROMPT).tolist()
    count = 32 - ids.shape[1]
    with torch.no_grad():
        said = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)
    stop, size = run.tokenizer.end_of_text, run.tokenizer.vocab_size
    ours = run.model.generate(ids, count, temperature=0, stop=stop, vocab_size=size)
    assert said.tolist() == ours.tolist() and said.shape[1] > ids.shape[1]
    assert tokenizer.decode(said[0]) == run.tokenizer.decode(ours[0].tolist())


def test_the_tokenizer_gives_the_same_ids_and_text(exported):
    run, folder = exported
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "".join(VERSES[:3]) + "\t\n  — é漢\U0001f680 ,Tiger !"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids == run.tokenizer.encode(text).tolist() and tokenizer.decode(ids) == text
    assert len(tokenizer) == run.tokenizer.vocab_size and tokenizer.eos_token_id == run.tokenizer.end_of_text
    if run.facts["data"]["tokenizer"] == "char":
        with pytest.raises(
            Exception, match=r"Missing \[UNK\]"
        ):  # as lehr: a letter that the text did not have is an error
            tokenizer("ß")


def test_the_model_card_says_what_it_was_made_of(exported):
    run, folder = exported
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "val_loss" in row][-1]
    for fact in (
        "| learning rate | 0.01 * (linear 1 to 1, cosine 19 to 0.1) |",
        run.facts["text"]["fingerprint"],
        f"| validation loss after 20 updates | {last['val_loss']:.4f} |",
        "20 of 20, 5,120 tokens",
        "| data | text.jsonl [",
    ):
        assert fact in card
    assert str(run.folder.parent) not in card
    muon = {**run.facts["optimizer"], "name": "muon", "matrix_lr_ratio": 0.5}
    told = model_card(replace(run, facts={**run.facts, "optimizer": muon}))
    assert "| Muon on matrices, AdamW | " in told and "momentum 0.95, the matrices' LR times 0.5 |" in told
    assert "momentum" not in card


def test_the_example_on_the_card_runs(exported, capsys):
    _, folder = exported
    code = (folder / "README.md").read_text().split("```python")[1].split("```")[0]
    exec(code.replace("FOLDER", str(folder)).replace("max_new_tokens=100", "max_new_tokens=9"), {})
    assert capsys.readouterr().out.startswith("\n")


def test_an_id_without_a_text_is_not_generated(exported):
    run, folder = exported
    facts = json.loads((folder / "generation_config.json").read_text())
    beyond = list(range(run.tokenizer.vocab_size, run.facts["model"]["vocab_size"]))
    assert facts.get("suppress_tokens", []) == beyond


def test_an_earlier_checkpoint_and_a_folder_that_is_taken(exported, capsys):
    run, _ = exported
    assert main(["export", f"{run.folder}@10"]) == 0
    out = Path(capsys.readouterr().out.strip())
    assert out == run.folder / "hf" and "10 of 20" in (out / "README.md").read_text()
    theirs = AutoModelForCausalLM.from_pretrained(out)
    earlier = open_run(f"{run.folder}@10").model
    ids = torch.arange(30)[None]
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, earlier(ids), atol=1e-4, rtol=0)
    capsys.readouterr()
    assert main(["export", str(run.folder)]) == 2
    assert capsys.readouterr().err == f"lehr: {out} is not an empty folder; write another --out\n"


def trained(folder, data, *settings):
    sets = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    words = ["train", "--data", data, "--out", folder / "run", "--steps", 10, "--lr", "1e-2", *sets]
    assert main(list(map(str, words))) == 0
    return folder / "run"


def test_a_run_on_ids_without_a_tokenizer_is_usable_and_takes_one_later(tmp_path, capsys):
    tokenizer = Subwords("learnt", learn(iter(VERSES), 300))
    (tmp_path / "tokenizer.json").write_text(tokenizer.text)
    ids = tokenizer.encode("".join(VERSES))
    assert ids.max() > 255
    ids.astype("<u2").tofile(tmp_path / "train.bin")
    assert main(["train", "--data", str(tmp_path / "train.bin"), "--out", str(tmp_path / "bytes")]) == 2
    assert "or train on the numbers alone: =none" in capsys.readouterr().err
    run = trained(tmp_path, tmp_path / "train.bin", "data.tokenizer=none")
    capsys.readouterr()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["val_bpb"] for row in rows if "val_bpb" in row] == [None] * 2
    said = main(["sample", str(run), "--prompt", "40 41", "--tokens", "5"]), capsys.readouterr().out
    assert said[0] == 0 and said[1].startswith("40 41 ") and len(said[1].split()) == 7
    assert main(["sample", str(run), "--tokens", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 ") and len(said.split()) == 4
    assert main(["sample", str(run), "--prompt", "the"]) == 2
    assert "'the' is no id below 300; write ids such as '464 3290', or name the tok" in capsys.readouterr().err
    assert main(["sample", str(run), "--tokenizer", "nowhere.json"]) == 2
    assert "no such tokenizers file: nowhere.json" in capsys.readouterr().err
    given = ["--tokenizer", str(tmp_path / "tokenizer.json")]
    assert main(["sample", str(run), "--prompt", "1. Tiger", *given, "--tokens", "5"]) == 0
    assert capsys.readouterr().out.startswith("1. Tiger")
    assert main(["export", str(run), "--out", str(tmp_path / "hf")]) == 2 and not (tmp_path / "hf").exists()
    assert "was trained on ids without a tokenizer; name the one that made them: --tok" in capsys.readouterr().err
    assert main(["export", str(run), "--out", str(tmp_path / "hf"), *given]) == 0
    assert AutoTokenizer.from_pretrained(tmp_path / "hf")("1. Tiger").input_ids == tokenizer.encode("1. Tiger").tolist()
    assert "bits per byte" not in (tmp_path / "hf" / "README.md").read_text()
    (tmp_path / "text.txt").write_text("Tiger")
    assert main(["train", "--data", str(tmp_path / "text.txt"), "--set", "data.tokenizer=none"]) == 2
    assert "data.tokenizer=none is for token ids alone; to text belongs bytes, char, or a" in capsys.readouterr().err


def test_a_file_of_llamas_kind_with_a_begin_of_text_is_handed_on(tmp_path):
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    inner.train_from_iterator(
        VERSES, trainers.BpeTrainer(vocab_size=320, special_tokens=special[:3], show_progress=False)
    )
    facts = json.loads(inner.to_str())
    extra = len(facts["model"]["vocab"])
    facts["model"]["vocab"] |= {word: extra + n for n, word in enumerate(special[3:])}
    inner = Tokenizer.from_str(json.dumps(facts))
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": verse}) + "\n" for verse in VERSES))
    trained(tmp_path, tmp_path / "text.jsonl", f"data.tokenizer={tmp_path / 'tokenizer.json'}")
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "hf")]) == 0
    run, theirs = open_run(str(tmp_path / "run")), AutoTokenizer.from_pretrained(tmp_path / "hf")
    ids = run.tokenizer.encode(VERSES[7]).tolist()
    assert theirs(VERSES[7]).input_ids == [1, *ids] and theirs(VERSES[7], add_special_tokens=False).input_ids == ids
    assert theirs.decode(ids) == run.tokenizer.decode(ids) == VERSES[7] and theirs.eos_token == "</s>"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([ids])).logits, run.model(torch.tensor([ids])), atol=1e-4, rtol=0)


def test_a_big_head_and_a_narrow_one_are_turned_alike(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from lehr.train.export import llama_config, llama_weights
    from lehr.train.tokenizer import Bytes

    for heads in (1, 8):
        sizes = {"vocab_size": 256, "context_length": 16, "d_model": 16, "num_layers": 1, "num_heads": heads, "d_ff": 8}
        model = TransformerLM(**sizes, rope_theta=100.0)
        theirs = LlamaForCausalLM(LlamaConfig(**llama_config({**sizes, "rope_theta": 100.0}, Bytes())))
        theirs.load_state_dict(llama_weights(model.state_dict(), heads))
        ids = torch.randint(256, (2, 16))
        with torch.no_grad():
            torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-4, rtol=0)
