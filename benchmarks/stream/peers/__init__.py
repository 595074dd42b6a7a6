"""The peers, each as its users would write it, on packages of its own.

The .txt beside each, installed by make bench-stream.
"""
