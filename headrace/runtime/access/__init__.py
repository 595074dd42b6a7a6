"""Who may call a role's ports, by which credential, and what is noted of it.

- `scopes`    which scope a route or a gRPC method needs;
- `keys`      API keys: made, checked, followed from their topic;
- `tokens`    JWTs of an OIDC issuer;
- `guard`     one decision for every transport;
- `rest`, `grpc` what asks the guard: an ASGI middleware, and a hook of the gRPC server;
- `sessions`  the page's log-in;
- `audit`     the record of operations and refusals;
- `tls`       server contexts that take new certificates without a restart;
- `edge`      all of it for one role, from its settings.
"""
