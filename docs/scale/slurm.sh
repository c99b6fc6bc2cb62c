#!/bin/bash
# A merge as a SLURM array: every task makes one part of the output's files, another job puts them together.
#   sbatch --array=1-8 docs/scale/slurm.sh merge.yaml 8        # the parts
#   sbatch --array=3 docs/scale/slurm.sh merge.yaml 8          # one of them again, after it failed
#   sbatch --dependency=afterok:JOB --kill-on-invalid-dep=yes --mem=4G --wrap "mergegraph finalize merge.yaml"
# The recipe, the models and the output lie on a disk that all nodes share.
#SBATCH --job-name=merge
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
recipe=$1
parts=$2

# After SIGTERM the exit code is 75: complete shards are kept, and the same part goes on when it is requeued.
code=0
# A step does not take the job's processors by itself.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    mergegraph run "$recipe" --shards "${SLURM_ARRAY_TASK_ID}/$parts" --threads "$SLURM_CPUS_PER_TASK" --budget 2GiB || code=$?
if [ "$code" = 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
