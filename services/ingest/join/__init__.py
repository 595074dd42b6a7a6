"""The role `join`: joins each event with its label, once, from the two logs alone."""
