"""The peers, each as its users would write it, on packages of its own: the .txt beside each, installed by make bench-stream."""
