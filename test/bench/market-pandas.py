"""The same interpolation with pandas: gaps of up to four hours in a SQLite database, read only.

Usage: market-pandas.py DATABASE FROM TO OUTPUT, times in UTC ms; writes lines of pool,at,price and prints one JSON object.
"""

import json
import os
import resource
import sqlite3
import sys
import time

import numpy as np
import pandas as pd

BUCKET = 300_000
WINDOW = 12
SHORT, MEDIUM, LONG = 2, 6, 48


def grid_of(connection, numbers, start, end):
    """Prices by bucket, a column for each pool; NaN where there is none."""
    marks = ",".join("?" * len(numbers))
    rows = pd.read_sql_query(
        f"select pool, at, price from pricing_snapshots_clean where pool in ({marks}) and at >= ? and at < ?",
        connection,
        params=[*numbers, start, end],
    )
    index = pd.RangeIndex(start, end, BUCKET)
    return rows.pivot(index="at", columns="pool", values="price").reindex(index=index, columns=numbers)


def gaps_of(column):
    """First bucket and length of each run of NaN that has a price on both sides."""
    missing = column.isna()
    runs = (missing != missing.shift()).cumsum()[missing]
    gaps = runs.groupby(runs).agg(["size"])
    gaps["first"] = runs.drop_duplicates().index.map(column.index.get_loc)
    inside = (gaps["first"] > 0) & (gaps["first"] + gaps["size"] < len(column))
    return gaps[inside & (gaps["size"] <= LONG)]


def weighted(prices, first, size):
    """Mean of the prices within an hour of the bucket and of the gap, by 1 / (minutes away + 1)."""
    near = np.r_[max(0, first - WINDOW) : first, first + size : min(len(prices), first + size + WINDOW + 1)]
    near = near[~np.isnan(prices[near])]
    at = np.arange(first, first + size)
    away = np.abs(at[:, None] - near[None, :])
    weights = np.where(away <= WINDOW, 1 / (away * 5 + 1), 0)
    return (weights * prices[near]).sum(axis=1) / weights.sum(axis=1)


def filled(grid):
    linear = grid.interpolate(method="linear", limit_area="inside")
    for pool in grid.columns:
        gaps = gaps_of(grid[pool])
        if gaps.empty:
            continue
        prices = grid[pool].to_numpy()
        out = np.full(len(prices), np.nan)
        peers = grid.drop(columns=pool)
        for first, size in zip(gaps["first"], gaps["size"]):
            part = slice(first, first + size)
            if size <= SHORT:
                out[part] = linear[pool].to_numpy()[part]
            elif size <= MEDIUM:
                out[part] = weighted(prices, first, size)
            else:
                moves = peers.iloc[part] / peers.iloc[first - 1]
                out[part] = moves.median(axis=1).to_numpy() * prices[first - 1]
        # Half up, as the product rounds.
        yield pool, pd.Series(np.maximum(1, np.floor(out + 0.5)), grid.index).dropna()


def main(database, start, end, output):
    began, cpu = time.perf_counter(), time.process_time()
    rows = 0
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection, open(output, "w") as file:
        pools = pd.read_sql_query("select id, pool_id, instance_type, region from pools order by id", connection)
        names = pools.set_index("id")["pool_id"]
        for _, group in pools.groupby(["region", "instance_type"], sort=False):
            for pool, prices in filled(grid_of(connection, group["id"].tolist(), start, end)):
                rows += len(prices)
                lines = pd.DataFrame({"pool": names[pool], "at": prices.index, "price": prices.astype(int)})
                lines.to_csv(file, header=False, index=False)
    print(
        json.dumps(
            {
                "pandas": pd.__version__,
                "pools": len(pools),
                "rows": rows,
                "seconds": time.perf_counter() - began,
                "cpuSeconds": time.process_time() - cpu,
                "peakRssMib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )



main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
