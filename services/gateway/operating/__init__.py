"""What an operator does by REST: roll back, pin, resume, read topics and lineages, put dead letters back."""
