#!/bin/bash
# A merge as a SLURM array: every task makes one part of the output's files, the last job puts them together.
#   sbatch docs/scale/slurm.sh merge.yaml
# The recipe, the models and the output lie on a disk that all nodes share.
#SBATCH --job-name=merge
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --requeue

set -euo pipefail
recipe=$1

if [ "${SLURM_ARRAY_TASK_ID}" = "${SLURM_ARRAY_TASK_MIN}" ]; then
    sbatch --job-name=finalize --cpus-per-task=2 --mem=4G --time=01:00:00 \
        --dependency="afterok:${SLURM_ARRAY_JOB_ID}" --wrap "mergegraph finalize ${recipe@Q}"
fi

# Exit code 75 after SIGTERM: complete shards are kept, and the same command goes on after a requeue.
srun mergegraph run "$recipe" --shards "${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}" \
    --threads "${SLURM_CPUS_PER_TASK}" --budget 2GiB
