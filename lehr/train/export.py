"""A run's model as a folder that other libraries open: Hugging Face's LlamaForCausalLM.

transformers itself is not needed to write it. Its rotary positions turn the pairs (i, i + d_head / 2) of a head, ours
the pairs (2i, 2i + 1): the rows of the query and key projections change places, and the scores stay what they were.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

import lehr
from lehr.train.metrics import is_evaluation, read_rows
from lehr.train.report import count
from lehr.train.runs import Run, best, count_parameters
from lehr.train.tokenizer import BYTE_OF, Bytes, Characters, Numbers, Subwords, Tokenizer

NAMES = {  # of a layer's weights
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "ffn.w1": "mlp.gate_proj",
    "ffn.w2": "mlp.down_proj",
    "ffn.w3": "mlp.up_proj",
}


def export_hf(run: Run, out: Path) -> None:
    """Write config, weights, tokenizer files and a model card into a new folder, which appears when it is whole.

    Raises ValueError if `out` is there and not empty, or the run has no tokenizer.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder; write another --out")
    if isinstance(run.tokenizer, Numbers):
        raise ValueError(
            f"{run.folder} was trained on ids without a tokenizer; name the one that made them: --tokenizer FILE"
        )
    beside = out.absolute().with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        weights = llama_weights(run.model.state_dict(), run.facts["model"]["num_heads"])
        save_file(weights, beside / "model.safetensors", metadata={"format": "pt"})
        _json(beside / "config.json", llama_config(run.facts["model"], run.tokenizer))
        _json(beside / "generation_config.json", generation_config(run.facts["model"], run.tokenizer))
        (beside / "tokenizer.json").write_text(tokenizer_json(run.tokenizer), encoding="utf-8")
        _json(beside / "tokenizer_config.json", tokenizer_config(run.facts["model"], run.tokenizer))
        (beside / "README.md").write_text(model_card(run), encoding="utf-8")
        if out.exists():
            out.rmdir()  # empty: a folder is not renamed over another everywhere
        os.rename(beside, out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def llama_weights(weights: dict[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """Our state dict under Llama's names, its query and key rows in Llama's order."""
    fixed = {
        "token_embeddings.weight": "model.embed_tokens.weight",
        "ln_final.weight": "model.norm.weight",
        "lm_head.weight": "lm_head.weight",
    }
    found = {}
    for name, weight in weights.items():
        weight = weight.detach().cpu()
        if name in fixed:
            found[fixed[name]] = weight.contiguous()
            continue
        _, number, rest = name.split(".", 2)
        part = rest.removesuffix(".weight")
        if part in ("attn.q_proj", "attn.k_proj"):
            weight = halves(weight, num_heads)
        found[f"model.layers.{number}.{NAMES[part]}.weight"] = weight.contiguous()
    return found


def halves(weight: Tensor, num_heads: int) -> Tensor:
    """Rows of interleaved pairs (2i, 2i + 1) in each head, put into halves: all first ones, then all second ones.

    >>> import torch
    >>> halves(torch.arange(8.0)[:, None], num_heads=2).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    heads = weight.unflatten(0, (num_heads, -1, 2))  # [heads, pairs, 2, d_model]
    rows: Tensor = heads.transpose(1, 2).flatten(0, 2)
    return rows


def llama_config(model: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Llama's config.json, as transformers 4 and 5 read it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model["vocab_size"],
        "hidden_size": model["d_model"],
        "intermediate_size": model["d_ff"],
        "num_hidden_layers": model["num_layers"],
        "num_attention_heads": model["num_heads"],
        "num_key_value_heads": model["num_heads"],
        "head_dim": model["d_model"] // model["num_heads"],
        "max_position_embeddings": model["context_length"],
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": model["rope_theta"],  # transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": model["rope_theta"]},  # transformers 5
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.end_of_text,
        "pad_token_id": None,
        "torch_dtype": "float32",  # transformers 4
        "dtype": "float32",  # transformers 5
    }


def generation_config(model: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """What `generate` does unless it is told otherwise: it stops at the end of text, and draws no id without a text."""
    facts: dict[str, Any] = {"bos_token_id": None, "eos_token_id": tokenizer.end_of_text, "pad_token_id": None}
    if tokenizer.end_of_text is not None:
        facts["pad_token_id"] = tokenizer.end_of_text
    if model["vocab_size"] > tokenizer.vocab_size:
        facts["suppress_tokens"] = list(range(tokenizer.vocab_size, model["vocab_size"]))
    return facts


def tokenizer_config(model: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """What AutoTokenizer asks for beside tokenizer.json."""
    facts: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model["context_length"],
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    if isinstance(tokenizer, Subwords) and tokenizer.separator is not None:
        facts["eos_token"] = tokenizer.separator
    return facts


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """The tokenizer as a file of the `tokenizers` library, with the same ids."""
    from tokenizers import Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Inner

    if isinstance(tokenizer, Subwords):
        inner = Inner.from_str(tokenizer.text)
        inner.no_truncation()
        inner.no_padding()
    elif isinstance(tokenizer, Bytes):
        inner = Inner(models.BPE(vocab=dict(BYTE_OF), merges=[]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = decoders.ByteLevel()
    else:
        assert isinstance(tokenizer, Characters)
        # words of one letter; a letter that is not there is an error, as in lehr, for there is no unknown word
        vocab = {letter: index for index, letter in enumerate(tokenizer.alphabet)}
        inner = Inner(models.WordLevel(vocab=vocab, unk_token="unknown"))
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        inner.decoder = decoders.Fuse()
    text: str = inner.to_str(pretty=True)
    return text


def _json(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# the model card


def model_card(run: Run) -> str:
    """README.md of the export: what the model is, how it was trained, and how well it does."""
    facts = run.facts
    model, train, optimizer = facts["model"], facts["train"], facts["optimizer"]
    rows = [row for row in read_rows(run.folder / "metrics.jsonl") if row["step"] <= run.step]
    updates = [row for row in rows if not is_evaluation(row) and row["step"] < run.step]
    evaluated = [row for row in rows if is_evaluation(row)]
    tokens = run.step * train["batch_size"] * model["context_length"]
    losses = []
    if updates:
        losses.append(("training loss, last update", f"{updates[-1]['loss']:.4f}"))
    if evaluated:
        losses.append((f"validation loss after {evaluated[-1]['step']:,} updates", f"{evaluated[-1]['val_loss']:.4f}"))
        if evaluated[-1]["val_bpb"] is not None:
            losses.append(("bits per byte, there", f"{evaluated[-1]['val_bpb']:.4f}"))
        losses.append(("lowest validation loss", f"{best(evaluated):.4f}"))
    named = {"bytes": "bytes", "char": "characters"}.get(facts["data"]["tokenizer"], "tokenizer.json")
    # the names alone: a card is published, and where things lie on this machine is nobody's business
    read = ", ".join(Path(path).name for path in facts["data"]["path"]) or "the source of Python's standard library"
    table = [
        ("parameters", f"{count(count_parameters(model))}"),
        (
            "layers, width, heads, d_ff",
            f"{model['num_layers']}, {model['d_model']}, {model['num_heads']}, {model['d_ff']}",
        ),
        ("context", f"{model['context_length']} tokens"),
        ("vocabulary", f"{model['vocab_size']:,} ({named}: {run.tokenizer.vocab_size:,})"),
        ("data", f"{read} [{facts['text']['fingerprint']}]"),
        ("held out", f"the last {facts['data']['val_fraction']:g} of it"),
        ("updates", f"{run.step:,} of {train['steps']:,}, {tokens:,} tokens"),
        ("learning rate", f"{optimizer['lr']:g} * ({facts['schedule']['lr']})"),
        (
            "AdamW" if optimizer.get("name", "adamw") == "adamw" else "Muon on matrices, AdamW",
            f"betas {optimizer['betas']}, eps {optimizer['eps']:g}, weight decay {optimizer['weight_decay']:g}, "
            f"gradients clipped at {optimizer['max_grad_norm']:g}"
            + (
                f", momentum {optimizer['momentum']:g}, the matrices' LR times {optimizer['matrix_lr_ratio']:g}"
                if optimizer.get("name") == "muon"
                else ""
            ),
        ),
        ("batch", f"{train['batch_size']} sequences"),
        ("precision, seed", f"{train['precision']}, {train['seed']}"),
        *losses,
        ("made by", f"lehr {lehr.__version__}, torch {facts['versions']['torch']}"),
    ]
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in table]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [llama, lehr]",
            "---",
            "",
            f"# {run.folder.resolve().name}",
            "",
            f"A language model of {count(count_parameters(model))} parameters (the Llama architecture), trained from "
            "random weights by lehr.",
            "",
            "| | |",
            "|---|---|",
            *lines,
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
            'ids = tokenizer("\\n", return_tensors="pt", add_special_tokens=False)',
            "print(tokenizer.decode(model.generate(**ids, max_new_tokens=100, do_sample=True)[0]))",
            "```",
            "",
            "It has read nothing but the data above and follows no instructions. Beyond "
            f"{model['context_length']} tokens it was never trained.",
            "",
        ]
    )
