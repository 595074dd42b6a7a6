"""The niceness that both roles run with, so that staging and coordination leave busy cores to serving."""

NICE = "niceness on busy cores: 0 as every process, 10 a tenth of a worker's share"
