"""What `headrace new` writes: a pipeline that works, `{name}` standing for its name."""
