"""Where networks compute: the host's processor, or a GPU."""
