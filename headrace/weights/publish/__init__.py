"""The trainer's side: a version's chunks into the stores, and the event that announces it."""
