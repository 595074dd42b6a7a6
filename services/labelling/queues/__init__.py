"""Which predicted events and dead letters join which queue."""
