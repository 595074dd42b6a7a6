"""Dead letters: records that could not be processed.

`letters` has what they are, `selection` which are meant, `read` reads them from Kafka, `plan` says what goes back, and
`replay` puts it back, exactly once.
"""
