"""The role `coordinator`: decides which version of each model the fleet serves."""
