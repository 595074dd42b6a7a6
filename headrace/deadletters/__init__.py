"""Dead letters: what is written of a record that cannot be processed, and how it is put back, once."""
