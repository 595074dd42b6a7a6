"""What clients may ask of the server beside predictions, of one process or of several that are one server."""
