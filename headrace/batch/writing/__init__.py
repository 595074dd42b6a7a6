"""From batches of predictions to parts on disk, and from parts to the output."""
