"""One module a command of `headrace`."""
