"""The role `batch`: jobs of batch inference by REST."""
