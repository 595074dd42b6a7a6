"""Messages of the Open Inference Protocol v2, generated from proto/inference.

They live in a descriptor pool of their own: clients of the protocol (tritonclient) register messages of the same names
in the process's default pool, and the two must be able to meet in one process.
"""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""Holds the descriptors of this package's modules, and nothing else."""
