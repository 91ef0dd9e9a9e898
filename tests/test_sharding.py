"""lehr.sharding, and what stands on it: clip and update of parameters that are split over two real processes."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from lehr.sharding import global_norm, is_split, local


def test_a_plain_tensor_is_its_own_part():
    x = torch.tensor([3.0, 4.0])
    assert not is_split(x) and local(x) is x and local(1.5) == 1.5
    assert global_norm([]) == 0 and global_norm([x, x.bfloat16()]).dtype == torch.float32


def test_parameters_that_are_split_are_clipped_and_updated_as_whole_ones():
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    env = {
        **os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    command = [sys.executable, str(Path(__file__).with_name("split_worker.py"))]
    ranks = [
        subprocess.Popen(
            command, env={**env, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [out for out, _ in said] == ["same\n", "same\n"], said
