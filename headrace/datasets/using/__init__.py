"""Giving a set to whoever works with events and labels: training, batch jobs, checks, replay."""
