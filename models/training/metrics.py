"""How good scores are. Every interval comes from a bootstrap over blocks of one pool and 12 h."""

import numpy as np

BLOCK_S = 12 * 3600


def weighted_auc_ap(y, score, weight=None):
    """Area under the ROC curve (ties count half) and average precision."""
    return Ranking(y, score).auc_ap(np.ones(len(y)) if weight is None else weight)


class Ranking:
    """Rows by falling score, sorted once for many weightings."""

    def __init__(self, y, score):
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.y = y[self.order]
        self.ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])

    def auc_ap(self, weight):
        w = weight[self.order]
        tp = np.cumsum(w * self.y)[self.ends]
        fp = np.cumsum(w * ~self.y)[self.ends]
        if tp[-1] == 0 or fp[-1] == 0:
            return np.nan, np.nan
        step_tp, step_fp = np.diff(tp, prepend=0), np.diff(fp, prepend=0)
        auc = np.sum(step_fp * (tp - step_tp / 2)) / (tp[-1] * fp[-1])
        precision = tp / np.maximum(tp + fp, 1e-300)
        return float(auc), float(np.sum(step_tp * precision) / tp[-1])


def at_threshold(y, p, threshold, weight=None):
    w = np.ones(len(y)) if weight is None else weight
    flagged = p >= threshold
    tp, fp, fn = (w * (flagged & y)).sum(), (w * (flagged & ~y)).sum(), (w * (~flagged & y)).sum()
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "flagged": float((w * flagged).sum() / w.sum())}


def brier(y, p):
    return float(np.mean((p - y) ** 2))


def ece(y, p, bins=10):
    """Expected calibration error over bins with the same number of rows."""
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(len(b) * abs(p[b].mean() - y[b].mean()) for b in parts if len(b)) / len(y))


def blocks(pool, time):
    _, number = np.unique(pool.astype(np.int64) * 2**32 + time // BLOCK_S, return_inverse=True)
    return number


def intervals(y, p, pool, time, threshold, replicates=200, seed=1):
    """95 % intervals of AUC, AP, recall and precision."""
    random = np.random.default_rng(seed)
    block, ranking = blocks(pool, time), Ranking(y, p)
    count, found = block.max() + 1, []
    for _ in range(replicates):
        weight = np.bincount(random.integers(0, count, count), minlength=count)[block].astype(np.float64)
        at = at_threshold(y, p, threshold, weight)
        found.append([*ranking.auc_ap(weight), at["recall"], at["precision"]])
    low, high = np.nanpercentile(np.array(found), [2.5, 97.5], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(("auc", "ap", "recall", "precision"))}


def episodes(m, p, threshold, grid_h):
    """
    An episode is an unbroken run of rows of one pool before rises. It counts as seen when any of its rows is flagged, as
    seen in time when one is flagged before the price has first risen by 3 %; the lead is the time between those two.
    """
    order = np.lexsort((m.time, m.pool))
    order = order[m.y[order]]
    pool, time = m.pool[order].astype(np.int64), m.time[order].astype(np.int64)
    if len(order) == 0:
        return {"episodes": 0}
    starts = np.r_[True, (pool[1:] != pool[:-1]) | (time[1:] - time[:-1] > grid_h * 3600)]
    number = np.cumsum(starts) - 1
    crossing = (time + m.rise[order] * 3600)[starts]
    flagged = p[order] >= threshold
    first = np.full(number[-1] + 1, np.inf)
    np.minimum.at(first, number[flagged], time[flagged])
    lead = (crossing - first) / 3600
    in_time = lead > 0
    return {
        "episodes": int(len(first)),
        "seen": float(np.isfinite(first).mean()),
        "in_time": float(in_time.mean()),
        "lead_h_median": float(np.median(lead[in_time])) if in_time.any() else None,
        "lead_h_p10": float(np.percentile(lead[in_time], 10)) if in_time.any() else None,
    }


def report(m, p, threshold, with_intervals=False):
    """Everything about one set of held-out rows."""
    y, flat = m.y, m.flat
    auc, ap = weighted_auc_ap(y, p)
    onset_auc, onset_ap = weighted_auc_ap(y[flat], p[flat]) if y[flat].any() else (None, None)
    result = {
        "rows": int(len(y)),
        "base_rate": float(y.mean()),
        "auc": auc,
        "ap": ap,
        **at_threshold(y, p, threshold),
        "brier": brier(y, p),
        "ece": ece(y, p),
        **episodes(m, p, threshold, m.header["gridHours"]),
        "onset_positives": int(y[flat].sum()),
        "onset_auc": onset_auc,
        "onset_ap": onset_ap,
    }
    if with_intervals:
        result["interval"] = intervals(y, p, m.pool, m.time, threshold)
        if y[flat].any():
            result["onset_interval"] = intervals(y[flat], p[flat], m.pool[flat], m.time[flat], threshold)
    return result


def curve(m, p, thresholds):
    """What each threshold costs and finds."""
    return [{"threshold": float(t), **at_threshold(m.y, p, t), **episodes(m, p, t, m.header["gridHours"])} for t in thresholds]
