"""What a training run was: its configuration, results and metadata, in the repository for configurations."""
