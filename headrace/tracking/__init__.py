"""Training jobs as runs in MLflow, and comparing them."""
