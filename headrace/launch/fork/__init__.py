"""A fork server: one process that has imported what all roles need, and starts each role by forking itself.

Ten roles that are forked share the memory of torch and start in milliseconds; ten interpreters import it ten times.

- `client`: what the supervisor sees: `ForkServer.spawn` gives a child process of the supervisor itself.
- `server`: the process: import, then wait for requests and fork.
- `preloaded`: what it imports.
- `role_process`: what a forked process does before it runs the role: session, output, environment, title.
- `messages`: request and reply.
"""
