"""The models that one server of the role `rpc` answers for."""
