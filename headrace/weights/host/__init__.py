"""The agent's side: pulling versions into shared memory, from stores and from other agents."""
