"""From files to batches of checked events: which files, which parts, and how each kind of file is read."""
