"""Mean absolute error by month as a picture: JSON of name → month → minutes on stdin, the file's name as argument."""

import json
import sys

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

figure, axes = plt.subplots(figsize=(9, 5))
for name, months in json.load(sys.stdin).items():
    ordered = sorted((int(month), error) for month, error in months.items())
    axes.plot(*zip(*ordered, strict=True), marker="o", label=name, linewidth=3 if name == "as served" else 1.5)
axes.set(xlabel="month of departure, 2013", ylabel="mean absolute error, minutes", xticks=range(1, 13))
axes.set_title("Arrival delay of flights from New York, predicted at departure")
axes.grid(alpha=0.3)
axes.legend()
figure.savefig(sys.argv[1], dpi=120, bbox_inches="tight")
