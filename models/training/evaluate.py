"""Measures a model of the registry on any price file: every figure of the card, on that market."""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import export
import matrix
import metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=matrix.ROOT / "models/registry/price-instability/1.0.0")
    parser.add_argument("--prices", type=Path, required=True)
    parser.add_argument("--on-demand", type=Path)
    parser.add_argument("--region")
    parser.add_argument("--seam", action="append", default=[])
    parser.add_argument("--grid", default="1")
    parser.add_argument("--time-scale", default="1")
    parser.add_argument("--move-scale", default="1")
    a = parser.parse_args()
    manifest = json.loads((a.model / "manifest.json").read_text())
    if export.sha256(a.model / "model.onnx") != manifest["sha256"]:
        raise SystemExit(f"{a.model}/model.onnx is not the file that its manifest speaks of")
    options = {"prices": a.prices, "seam": a.seam, "grid": a.grid, "time-scale": a.time_scale, "move-scale": a.move_scale}
    options |= {flag: value for flag, value in (("on-demand", a.on_demand), ("region", a.region)) if value}
    with tempfile.TemporaryDirectory() as folder:
        m = matrix.make(Path(folder), options)
    names = [feature["name"] for feature in manifest["input"]["features"]]
    p = export.run(export.session(a.model / "model.onnx"), m.columns(names)).astype(np.float64)
    if not m.y.any():
        raise SystemExit("no price in this file rises: there is nothing to measure")
    result = metrics.report(m, p, manifest["decision_threshold"], with_intervals=True)
    past = np.nan_to_num(m.column("ret_12h")).astype(np.float64)
    auc, ap = metrics.weighted_auc_ap(m.y, past)
    print(json.dumps({**result, "baseline return over the past 12 h": {"auc": auc, "ap": ap}}, indent=1))


if __name__ == "__main__":
    main()
