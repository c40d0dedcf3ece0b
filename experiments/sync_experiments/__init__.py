"""The experiments of the paper and of its supplement, one TOML file each, and the runs that they stand for."""
