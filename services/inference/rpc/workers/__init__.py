"""Several processes of the role `rpc` on one pair of ports."""
