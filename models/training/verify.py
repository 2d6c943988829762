"""Runs a model's golden rows in onnxruntime: exits with 1 when one is off."""

import json
import sys
from pathlib import Path

import numpy as np

import export

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())
rows = np.array([[np.nan if v is None else v for v in g["x"]] for g in manifest["golden"]], dtype=np.float32)
y = export.run(export.session(folder / "model.onnx"), rows)
off = [i for i, g in enumerate(manifest["golden"]) if not abs(float(y[i]) - g["y"]) <= g["tol"]]
same = export.sha256(folder / "model.onnx") == manifest["sha256"]
print(json.dumps({"rows": len(rows), "off": off, "sha256": same}))
sys.exit(0 if same and not off and len(rows) >= 10 else 1)
