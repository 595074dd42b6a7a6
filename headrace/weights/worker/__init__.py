"""The worker's side: following the host's agent, staging a version beside the one that serves, and the swap."""
