"""Which process does which part: this one, several beside it, or Ray's."""
