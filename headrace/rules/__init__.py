"""Rules: when something happens, do these steps; their schema, the life of a run, and what each kind of step does."""
