"""Bridges to other servers: every version that the fleet activates, served by a Triton Inference Server too."""
