"""Gateway: one REST address for everything (role `gateway`): predict, append, follow the predictions, see the status."""
