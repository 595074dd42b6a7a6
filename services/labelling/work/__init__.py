"""People's work on items: who has which, what they decided, and what of it is published."""
