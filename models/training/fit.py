"""The recipe: one LightGBM model, made less dependent on the market's pace, calibrated on families it has not seen."""

import lightgbm as lgb
import numpy as np

SEED = 20200330
ROUNDS = 160
PARAMS = {
    "objective": "binary",
    "learning_rate": 0.08,
    "num_leaves": 15,
    "min_data_in_leaf": 600,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "seed": SEED,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
# Rows without a rise are many and alike: a share of them stands for all.
KEEP_FLAT, KEEP_MOVING = 0.06, 0.25
# Rows of scaled copies of the market count less than rows of the market itself.
COPY_WEIGHT = 0.25
# The on-demand price is hidden in this share of the rows, so that a market without one is not strange.
HIDE_ON_DEMAND = 0.2


def make_light():
    """For tests on a few thousand rows: they are over in seconds and need every one of them."""
    global ROUNDS, KEEP_FLAT, KEEP_MOVING
    ROUNDS, KEEP_FLAT, KEEP_MOVING = 30, 1.0, 1.0
    PARAMS["min_data_in_leaf"] = 20


def sample(m, seed):
    """Rows to train on, with the weight that makes up for those left out."""
    random = np.random.default_rng(seed)
    draw, flat, y = random.random(len(m.rise)), m.flat, m.y
    share = np.where(y, 1.0, np.where(flat, KEEP_FLAT, KEEP_MOVING))
    rows = np.flatnonzero(draw < share)
    return rows, 1 / share[rows]


def train(market, copies, names):
    parts = []
    for i, m in enumerate([market, *copies]):
        rows, weight = sample(m, SEED + i)
        parts.append((m.columns(names)[rows], m.y[rows], weight * (1 if i == 0 else COPY_WEIGHT)))
    x, y, weight = (np.concatenate(column) for column in zip(*parts))
    if "headroom" in names and HIDE_ON_DEMAND:
        x[np.random.default_rng(SEED).random(len(x)) < HIDE_ON_DEMAND, names.index("headroom")] = np.nan
    return lgb.train(PARAMS, lgb.Dataset(x, y.astype(np.float64), weight=weight, feature_name=list(names)), ROUNDS)


def margin(booster, m, names):
    return booster.predict(m.columns(names), raw_score=True, num_threads=1)


def folds_of(m, count):
    """Families in turn: pools of one family are never on both sides."""
    families = sorted(set(pool.split(".")[0] for pool in m.header["pools"]))
    place = {family: i % count for i, family in enumerate(families)}
    return np.array([place[pool.split(".")[0]] for pool in m.header["pools"]])[m.pool]


def out_of_family(market, copies, names, count, test=None):
    """Margins of `test` (by default of the market itself), each by a model that saw nothing of the row's family."""
    test = market if test is None else test
    held = folds_of(test, count)
    result = np.empty(len(held))
    for fold in range(count):
        seen = market.take(folds_of(market, count) != fold)
        seen_copies = [copy.take(folds_of(copy, count) != fold) for copy in copies]
        assert not set(seen.family) & set(test.take(held == fold).family), "a family is on both sides"
        result[held == fold] = margin(train(seen, seen_copies, names), test.take(held == fold), names)
    return result


def platt(y, z, steps=50):
    """a and b of 1 / (1 + exp(-(a z + b))), by Newton's method."""
    a, b = 1.0, 0.0
    design = np.stack([z, np.ones_like(z)], axis=1)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(a * z + b)))
        gradient = design.T @ (p - y)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        change = np.linalg.solve(hessian, gradient)
        a, b = a - change[0], b - change[1]
        if np.abs(change).max() < 1e-10:
            break
    return float(a), float(b)


def fold_in(booster, a, b):
    """Puts the calibration into the leaves, so that the model's own output is calibrated."""
    trees = booster.dump_model()["tree_info"]
    for i, tree in enumerate(trees):
        for leaf in range(tree["num_leaves"]):
            value = booster.get_leaf_output(i, leaf) * a + (b if i == 0 else 0)
            booster.set_leaf_output(i, leaf, value)
    return booster


def sigmoid(z):
    return 1 / (1 + np.exp(-z))
