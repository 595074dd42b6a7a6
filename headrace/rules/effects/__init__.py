"""What each kind of step does, by name: see `headrace.rules.effects.table`."""
