"""The role `train`: training jobs by REST."""
