"""Label Studio's JSON: tasks, annotations and predictions, written and read."""
