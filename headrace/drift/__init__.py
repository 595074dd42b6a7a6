"""Statistics of drift: distances between distributions, references, windows, and detectors. It needs numpy alone.

`distances` compares two distributions; `columns` makes numbers of decoded records; `reference` is what a stream is
compared with; `windows` compares; `changes` finds changes of a mean (ADWIN); `rates` watches volume and latency.
"""
