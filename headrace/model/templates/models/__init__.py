"""The model.py of each task but regression, whose is beside this folder."""
