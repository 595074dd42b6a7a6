"""Checkpoints from trainers to workers: the coordinator decides what the fleet serves, agents bring it to each host."""
