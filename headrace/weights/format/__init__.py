"""What a version of weights is on the wire and at rest: manifest, payload, chunks, patches."""
