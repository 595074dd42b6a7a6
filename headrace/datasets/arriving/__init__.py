"""How files come: uploaded in parts, or put into a watched folder."""
