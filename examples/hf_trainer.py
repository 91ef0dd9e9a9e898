"""A schedule text drives the Hugging Face Trainer, through a stop and a resume.

    python examples/hf_trainer.py [updates]

It trains a small Llama on Python's own source as bytes, stops half-way, and goes on from the checkpoint.
"""

import sys
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, TrainingArguments

from lehr.integrations.transformers import Trainer

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 40
text = b"".join(path.read_bytes() for path in sorted(Path(torch.__file__).parent.glob("optim/*.py")))
ids = torch.tensor(list(text[: 64 * 2000])).view(-1, 64)
data = [{"input_ids": row, "labels": row} for row in ids]


class StopHalfWay(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = control.should_training_stop = state.global_step == updates // 2


def trainer(folder, **more):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=256, max_position_embeddings=64, **sizes))
    quiet = {"report_to": "none", "disable_tqdm": True, "logging_steps": 1, "use_cpu": True}
    size = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    args = TrainingArguments(folder, max_steps=updates, learning_rate=3e-3, **size, **quiet)
    schedule = "linear 10% to 1, hold rest, sqrt 20% to 0"  # % of the Trainer's updates
    return Trainer(model=model, args=args, train_dataset=data, schedule=schedule, **more)


with tempfile.TemporaryDirectory() as folder:
    trainer(folder, callbacks=[StopHalfWay()]).train()
    resumed = trainer(folder)
    resumed.train(resume_from_checkpoint=True)
    for row in resumed.state.log_history[:-1]:
        print(f"update {row['step']:3}  lr {row['learning_rate']:.3e}  loss {row['loss']:.3f}")
    print(resumed.lr_scheduler.lr)
