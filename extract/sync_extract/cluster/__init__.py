"""The same extraction by many jobs: bins of recordings as a Slurm array, or as processes of one machine."""
