"""Jobs that a service takes by REST and runs as processes: kept durably, followed, cancelled, gone on with."""
