"""What serving and training do on a GPU, or on the processor told to copy as for one."""
