"""Fits, measures on what was held out, and writes the model with manifest, card and results."""

import argparse
import datetime as dt
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import card
import export
import fit
import matrix
import metrics

HORIZON_S = 12 * 3600
EMBARGO_S = 12 * 3600
# Families whose turn it is to be held out.
FOLDS = 3
# Recall before precision: this share of the rows before a rise is to be flagged, on families that were not seen.
WANTED_RECALL = 0.9
DATA = matrix.ROOT.parent / "shared/data"
SA_PRICES = "prices/sa-east-1_2019-12-31_2020-06-23_linux.csv.gz"
SA_ON_DEMAND = "catalog/ec2_linux_ondemand_by_region_2025-04-04.csv.gz"
SA_SEAM = "2020-03-30T00:31:00Z/2020-03-31T00:04:00Z"
# Copies of the market at another pace, to train on; every second hour of them is enough.
COPIES = [(1, 0.5), (1, 0.7), (1, 1.4), (0.6, 1), (1.6, 1)]
# Other paces, never trained on, at which the test time is measured as well.
PACES = [(1, 0.6), (1, 0.85), (0.8, 0.6), (1.3, 1.2)]
SEED_FEATURES = [
    "price_position", "discount_depth", "family_stress_mean", "family_stress_max",
    "hour_sin", "hour_cos", "is_weekend", "is_business_hours",
]  # fmt: skip


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with prices/ and catalog/")
    parser.add_argument("--prices", type=Path, help="another price file than the one the default model is made from")
    parser.add_argument("--on-demand", type=Path)
    parser.add_argument("--seam", action="append", help="FROM/TO of a hole in the prices")
    parser.add_argument("--split", default="2020-03-31T00:04:00Z", help="training rows end before, test rows begin here")
    parser.add_argument("--out", type=Path, default=matrix.ROOT / "models/registry/price-instability/1.0.0")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--light", action="store_true", help="few rounds, no copies, no intervals: for tests")
    a = parser.parse_args()
    if a.prices is None:
        a.prices, a.on_demand, a.seam = a.data / SA_PRICES, a.data / SA_ON_DEMAND, [SA_SEAM]
    if not a.prices.exists():
        raise SystemExit(f"{a.prices} is not there: give --data FOLDER or --prices FILE")
    return a


def split(m, moment):
    """Rows whose label is known half a day before the split, and rows from the split on."""
    train, test = m.take(m.time + HORIZON_S + EMBARGO_S <= moment), m.take(m.time >= moment)
    for name, side in (("before", train), ("after", test)):
        if not side.y.any() or side.y.all():
            raise SystemExit(f"the {len(side.y)} rows {name} the split have no two kinds of label")
    last_label = int(train.time.max()) + HORIZON_S
    assert int(test.time.min()) - last_label >= EMBARGO_S, "a training label reaches into the embargo"
    return train, test


def matrices(a, folder):
    """The market, and copies of it at the paces to train on and at those to test on."""
    options = {"prices": a.prices, "seam": a.seam or []}
    if a.on_demand:
        options["on-demand"] = a.on_demand
    market = matrix.make(folder / "market", options)

    def scaled(paces):
        for time, moves in [] if a.light else paces:
            yield matrix.make(folder / "copy", {**options, "time-scale": time, "move-scale": moves, "grid": 2})

    return market, list(scaled(COPIES)), list(scaled(PACES))


def scaled_moment(moment, header, market):
    """Where the split lies in a copy of the market."""
    origin = dt.datetime.fromisoformat(market.header["segments"][0][0]).timestamp()
    return origin + (moment - origin) * header["scale"]["time"]


def baselines(train, test):
    rate = train.y.mean()
    of_pool = np.bincount(train.pool, train.y, len(train.header["pools"]))
    rows_of_pool = np.bincount(train.pool, minlength=len(train.header["pools"]))
    per_pool = (of_pool + 200 * rate) / (rows_of_pool + 200)
    a, b = fit.platt(train.y, np.nan_to_num(train.column("ret_12h")).astype(np.float64))
    seeds = fit.train(train, [], SEED_FEATURES)
    return {
        "constant rate": np.full(len(test.y), rate),
        "return over the past 12 h": fit.sigmoid(a * np.nan_to_num(test.column("ret_12h")).astype(np.float64) + b),
        "rate of the pool": per_pool[test.pool],
        "the seeds' features": fit.sigmoid(fit.margin(seeds, test, SEED_FEATURES)),
    }


def best_f1(y, p):
    """The baseline's own best threshold, found on the test rows: generous to it."""
    ranked = np.argsort(-p, kind="stable")
    tp = np.cumsum(y[ranked])
    f1 = 2 * tp / (np.arange(1, len(y) + 1) + y.sum())
    return float(p[ranked[np.argmax(f1)]])


def feature_catalog():
    """What features.ts can compute, and what the default model takes of it."""
    command = [str(matrix.ROOT / "node_modules/.bin/node"), str(matrix.ROOT / "models/training/catalog-main.ts")]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {feature["name"]: feature for feature in told["catalog"]}, told["default"]


def main():
    a = arguments()
    moment = int(dt.datetime.fromisoformat(a.split).timestamp())
    if a.light:
        fit.make_light()
    catalog, names = feature_catalog()
    say = lambda text: print(f"{dt.datetime.now():%H:%M:%S} {text}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        market, copies, paces = matrices(a, Path(folder))
    train, test = split(market, moment)
    train_copies, later_copies = [], []
    for copy in copies:
        at = scaled_moment(moment, copy.header, market)
        train_copies.append(copy.take(copy.time + HORIZON_S + EMBARGO_S <= at))
        later_copies.append(copy.take(copy.time >= at))
    say(f"{len(train.y)} rows to train on ({train.y.sum()} before a rise), {len(test.y)} to test on ({test.y.sum()})")

    held = fit.out_of_family(train, train_copies, names, FOLDS)
    z = held.astype(np.float64)
    slope, shift = fit.platt(train.y, z)
    calibrated = fit.sigmoid(slope * z + shift)
    threshold = float(f"{np.quantile(calibrated[train.y], 1 - WANTED_RECALL):.3g}")
    say(f"calibration {slope:.4f} {shift:.4f}, threshold {threshold}")

    booster = fit.fold_in(fit.train(train, train_copies, names), slope, shift)
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / "model.onnx"
    booster, model = export.to_onnx(booster, names, file)
    runtime = export.session(file)
    x = test.columns(names)
    p = export.run(runtime, x).astype(np.float64)
    references = {name: export.reference(train.column(name)) for name in names}
    features = [{**catalog[name], **({"ref": references[name]} if references[name] else {})} for name in names]
    nullable = [i for i, feature in enumerate(features) if feature["nullable"]]
    some = np.sort(np.argsort(p, kind="stable")[np.linspace(0, len(p) - 1, min(len(p), 5000)).astype(int)])
    difference = export.check_parity(booster, runtime, x[some], nullable)
    say(f"onnxruntime and LightGBM differ by at most {difference:.1e}")

    results = {"model": metrics.report(test, p, threshold, with_intervals=not a.light)}
    for name, score in baselines(train, test).items():
        results[name] = metrics.report(test, score, best_f1(test.y, score))
    say("baselines measured")
    if not a.light:
        families = fit.sigmoid(slope * fit.out_of_family(train, train_copies, names, FOLDS, test) + shift)
        results["held-out families, held-out time"] = metrics.report(test, families, threshold, with_intervals=True)
        results["held-out families, training time"] = metrics.report(train, calibrated, threshold)
        swapped = fit.sigmoid(fit.margin(fit.train(test, later_copies, names), train, names))
        results["time turned round"] = metrics.report(train, swapped, threshold)
        plain = fit.train(train, [], names)
        results["without scaled copies"] = metrics.report(test, fit.sigmoid(fit.margin(plain, test, names)), threshold)
        hidden = x.copy()
        hidden[:, names.index("headroom")] = np.nan
        results["on-demand price unknown"] = metrics.report(test, export.run(runtime, hidden).astype(np.float64), threshold)
        for copy in paces:
            later = copy.take(copy.time >= scaled_moment(moment, copy.header, market))
            scale = copy.header["scale"]
            name = f"other pace: time × {scale['time']}, moves × {scale['moves']}"
            results[name] = metrics.report(later, export.run(runtime, later.columns(names)).astype(np.float64), threshold)
            results[f"{name}, without copies"] = metrics.report(later, fit.sigmoid(fit.margin(plain, later, names)), threshold)
        say("other splits and paces measured")
    thresholds = sorted({threshold, 0.85, *(float(f"{q:.3g}") for q in np.quantile(calibrated[train.y], [0.02, 0.05, 0.2, 0.3, 0.5, 0.7]))})
    results_file = {"results": results, "curve": metrics.curve(test, p, thresholds), "threshold": threshold}

    day = lambda seconds: f"{dt.datetime.fromtimestamp(int(seconds), dt.UTC):%Y-%m-%d}"
    at = results["model"]
    pools = train.header["pools"]
    manifest = {
        "name": "price-instability",
        "version": a.version,
        "sha256": export.sha256(file),
        "opset": max(o.version for o in model.opset_import if o.domain == ""),
        "input": {"name": export.INPUT, "dtype": "float32", "features": features},
        "output": {
            "name": export.OUTPUT, "index": 1, "kind": "probability", "positive_class": "rise",
            "ref": export.reference(export.run(runtime, train.columns(names))),
        },
        "target": {
            "id": "price_instability_12h",
            "definition": "1 if max price over (t, t + 12 h] > 1.03 * price(t)",
            "horizon_h": 12,
        },
        "trained_until": day(train.time.max() + HORIZON_S - 86400),
        "train_from": day(train.time.min() - 7 * 86400),
        "coverage": {"regions": [market.header["region"]], "families": sorted({pool.split(".")[0] for pool in pools})},
        "decision_threshold": threshold,
        "calibration": {
            "kind": "none",
            "params": {},
            "note": f"Platt scaling (a = {slope:.6f}, b = {shift:.6f}, on families not seen) is inside the model's leaves",
        },
        "train_metrics": {
            "n": at["rows"], "base_rate": at["base_rate"], "precision": at["precision"], "recall": at["recall"],
            "f1": at["f1"], "auc": at["auc"], "threshold": threshold,
            "note": f"held out: {day(test.time.min())} to {day(test.time.max())}, none of it trained on",
        },
        "golden": export.golden_rows(runtime, x, p, nullable),
    }  # fmt: skip
    export.write_json(a.out / "manifest.json", manifest)
    export.write_json(a.out / "results.json", results_file)
    (a.out / "card.md").write_text(card.render(manifest, results_file, train, test, day))
    say(f"wrote {a.out}: AUC {at['auc']:.4f}, AP {at['ap']:.4f}")


if __name__ == "__main__":
    main()
