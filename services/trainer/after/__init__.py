"""What is done with weights that a training job has made: comparing them with what serves, and publishing them."""
