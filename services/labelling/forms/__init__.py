"""The form of a label, made of the pipeline's struct, and checking what people enter."""
