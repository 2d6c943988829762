"""The model as ONNX with its manifest and golden rows; LightGBM and onnxruntime must agree on them."""

import hashlib
import json
import re

import lightgbm as lgb
import numpy as np
import onnx
import onnxruntime as ort
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

INPUT, OUTPUT = "features", "probabilities"
TOLERANCE = 1e-4
MAX_BYTES = 2 * 2**20
ALLOWED_OPS = {"TreeEnsembleClassifier", "Cast", "Identity", "Mul"}


def on_float32(booster):
    """
    The same model with thresholds that float32 can hold. Inputs are float32, so a threshold rounded down to the next
    float32 parts them as the float64 one does; rounded to the nearest, as a converter does, it may not.
    """

    def down(text):
        exact = np.array([float(t) for t in text.split(" ")])
        near = exact.astype(np.float32)
        return " ".join(repr(float(v)) for v in np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near))

    text = re.sub(r"(?m)^threshold=(.+)$", lambda line: f"threshold={down(line[1])}", booster.model_to_string())
    # Without the sizes of the trees LightGBM finds where each begins by itself.
    return lgb.Booster(model_str=re.sub(r"(?m)^tree_sizes=.*\n", "", text))


def to_onnx(booster, names, path):
    booster = on_float32(booster)
    model = convert_lightgbm(
        booster,
        name="price-instability",
        initial_types=[(INPUT, FloatTensorType([None, len(names)]))],
        zipmap=False,
        target_opset=15,
    )
    model.doc_string = "price instability: probability that the spot price rises by more than 3 % within 12 h"
    ops = {node.op_type for node in model.graph.node}
    if ops - ALLOWED_OPS:
        raise SystemExit(f"the converter used {sorted(ops - ALLOWED_OPS)}, which a coordinator would refuse")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    return booster, model


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(onnx_session, x):
    return onnx_session.run([OUTPUT], {INPUT: np.ascontiguousarray(x, dtype=np.float32)})[0][:, 1]


def check_parity(booster, onnx_session, x, nullable):
    """Raises unless both agree, also where each nullable feature is unknown. Returns the largest difference."""
    worst = 0.0
    for hidden in [None, *nullable]:
        rows = x.copy()
        if hidden is not None:
            rows[:, hidden] = np.nan
        worst = max(worst, float(np.abs(run(onnx_session, rows) - booster.predict(rows, num_threads=1)).max()))
    if not worst <= TOLERANCE:
        raise SystemExit(f"onnxruntime and LightGBM differ by {worst}")
    return worst


def reference(values):
    """
    Bins for drift: deciles, or where one value is very common, that value and the deciles of the others. Bin i is
    [edges[i], edges[i + 1]), the last one closed; what lies outside has no reference. None where nothing is known, as
    of the headroom in a market without on-demand prices.
    """
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return None
    common, counts = np.unique(known, return_counts=True)
    common = common[counts > 0.15 * len(known)]
    others = known[~np.isin(known, common)]
    towards = np.where(common == known.max(), -np.inf, np.inf).astype(np.float32)
    edges = [common, np.nextafter(common.astype(np.float32), towards).astype(np.float64)]
    if len(others):
        edges.append(np.quantile(others, np.linspace(0, 1, 11)))
    edges = np.unique(np.concatenate(edges))
    counts, _ = np.histogram(known, edges)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "null_count": int(len(values) - len(known))}


# Scores for which a golden row is looked for.
GOLDEN_SCORES = [0, 1e-3, 0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1]


def golden_rows(onnx_session, x, p, nullable):
    """Rows over the whole range of the score; then some of them with what may be unknown left out."""
    order = np.argsort(p, kind="stable")
    at = np.minimum(np.searchsorted(p[order], GOLDEN_SCORES), len(order) - 1)
    rows = np.concatenate([x[order[at]], x[order[at[[3, 9, 13]]]], x[order[at[[3, 9, 13]]]]])
    rows[-6:-3, nullable[-1]] = np.nan
    rows[np.ix_(np.arange(len(rows) - 3, len(rows)), nullable)] = np.nan
    y = run(onnx_session, rows)
    return [
        {"x": [None if np.isnan(v) else float(v) for v in row], "y": float(value), "tol": TOLERANCE}
        for row, value in zip(rows, y)
    ]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
