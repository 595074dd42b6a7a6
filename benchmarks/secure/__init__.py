"""What security costs: TLS and SASL on the stream, keys on `rpc`, certificates that change under load."""
