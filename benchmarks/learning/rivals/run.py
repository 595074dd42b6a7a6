"""Gradient boosting and an online linear model over the flights; no package of Headrace is imported here.

Input is an .npz: numbers [N, 39], labels [N] in minutes (NaN where none came), departed and landed [N] in seconds.
Output is JSON on stdout: name → month → mean absolute error. Boosting learns l1 on what departure delay leaves;
"monthly" is trained anew at each month's first departure on everything that has landed by then, "frozen" once on
January to March.
"""

import json
import sys

import lightgbm
import numpy as np
from river import compose, linear_model, optim, preprocessing

DELAY, CODES = 5, [0, 1, 2, 3, 4]


def month_of(seconds):
    return seconds.astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12 + 1


def boosted(numbers, labels, known):
    model = lightgbm.LGBMRegressor(
        objective="l1", n_estimators=300, num_leaves=63, learning_rate=0.08, verbose=-1, n_jobs=2
    )
    model.fit(numbers[known], labels[known] - numbers[known, DELAY], categorical_feature=CODES)
    return model


def errors_by_month(predictions, labels, months):
    errors = np.abs(predictions - labels)
    good = np.isfinite(errors)
    return {int(m): float(errors[good & (months == m)].mean()) for m in np.unique(months[good])}


def monthly(data, months):
    numbers, labels = data["numbers"], data["labels"]
    made = np.full(len(labels), np.nan)
    for month in range(2, 13):
        begins = data["departed"][months == month].min()
        model = boosted(numbers, labels, (data["landed"] < begins) & np.isfinite(labels))
        asked = months == month
        made[asked] = model.predict(numbers[asked]) + numbers[asked, DELAY]
    return errors_by_month(made, labels, months)


def frozen(data, months):
    numbers, labels = data["numbers"], data["labels"]
    begins = data["departed"][months == 4].min()
    model = boosted(numbers, labels, (data["landed"] < begins) & np.isfinite(labels))
    made = np.where(months >= 4, model.predict(numbers) + numbers[:, DELAY], np.nan)
    return errors_by_month(made, labels, months)


def online_linear(data, months):
    """River's linear regression on standardized numbers, in event time: predict at departure, learn at landing."""
    numbers, labels = data["numbers"], data["labels"]
    model = compose.Pipeline(
        preprocessing.StandardScaler(), linear_model.LinearRegression(optim.SGD(0.005), loss=optim.losses.Huber(10.0))
    )
    columns = [i for i in range(numbers.shape[1]) if i not in CODES]
    happened = np.concatenate([data["departed"], data["landed"]])
    made = np.full(len(labels), np.nan)
    for i in np.argsort(happened, kind="stable"):
        row = i % len(labels)
        x = dict(zip(columns, numbers[row, columns].tolist(), strict=True))
        if i < len(labels):
            made[row] = model.predict_one(x)
        elif np.isfinite(labels[row]):
            model.learn_one(x, float(labels[row]))
    return errors_by_month(made, labels, months)


def main(path):
    data = dict(np.load(path))
    months = month_of(data["departed"])
    found = {}
    for name, rival in (("monthly trees", monthly), ("frozen trees", frozen), ("online linear", online_linear)):
        found[name] = rival(data, months)
        print(name, file=sys.stderr)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
