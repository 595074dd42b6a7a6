"""The role `datasets`: sets by REST, imports as jobs, uploads in parts, a watched folder."""
