"""The role `rules`: runs the rules of one pipeline."""
