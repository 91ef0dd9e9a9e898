#!/bin/bash
# A run on several machines under SLURM:  sbatch examples/slurm.sh
#
# One torchrun a machine, which begins a process for each GPU. The run's folder is on a file system that all see. Begun
# again after a failure, or when the time was up, it goes on from its newest checkpoint. docs/scale.md says more.
#SBATCH --job-name=lehr
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@180  # three minutes before the end: the update is finished and saved
#SBATCH --open-mode=append
#SBATCH --output=lehr-%j.log

set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node 8 --max-restarts 3 --shutdown-timeout 150 \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    -m lehr train --preset gpt2-124m --data tokens --out "runs/$SLURM_JOB_NAME" --resume-or-start \
    --set train.parallel=ddp --set train.timeout=300
