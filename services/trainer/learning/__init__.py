"""What a step of online learning is made of: recent examples, schedules, averages, and learning rates that race."""
