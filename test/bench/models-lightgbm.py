"""What LightGBM's own predict takes for an ensemble of the same size, on one thread and on two.

Usage: models-lightgbm.py TREES FEATURES RUNS ROWS...; prints one JSON object.
"""

import json
import sys
import time

import lightgbm
import numpy as np

LEAVES = 31


def main() -> None:
    trees, features, runs, *sizes = map(int, sys.argv[1:])
    random = np.random.default_rng(1)
    x = random.random((20_000, features), dtype=np.float32)
    y = random.random(20_000) < 0.5
    settings = {"objective": "binary", "num_leaves": LEAVES, "num_threads": 1, "verbose": -1, "min_data_in_leaf": 20}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y), trees)
    timed = []
    for threads in (1, 2):
        for rows in sizes:
            batch = random.random((rows, features), dtype=np.float32)
            millis = []
            for _ in range(runs):
                start = time.perf_counter()
                booster.predict(batch, num_threads=threads)
                millis.append((time.perf_counter() - start) * 1000)
            timed.append({"rows": rows, "threads": threads, "millis": millis})
    print(json.dumps({"version": lightgbm.__version__, "trees": booster.num_trees(), "sizes": timed}))


main()
