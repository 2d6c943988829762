"""Training matrices: made by features-main.ts, read here. No feature is computed in Python."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Matrix:
    header: dict
    x: np.ndarray  # float32, one row per pool and moment
    pool: np.ndarray  # number in header['pools']
    time: np.ndarray  # seconds since 1970
    rise: np.ndarray  # hours until the price has risen, NaN where it does not within the horizon
    segment: np.ndarray

    @property
    def y(self) -> np.ndarray:
        return np.isfinite(self.rise)

    def column(self, name: str) -> np.ndarray:
        return self.x[:, self.header["features"].index(name)]

    def columns(self, names) -> np.ndarray:
        return self.x[:, [self.header["features"].index(name) for name in names]]

    @property
    def flat(self) -> np.ndarray:
        """Rows whose price has not changed for 24 h: where a warning would come before anything is to be seen."""
        return self.column("changes_24h") == 0

    @property
    def family(self) -> np.ndarray:
        return np.array([pool.split(".")[0] for pool in self.header["pools"]])[self.pool]

    def take(self, rows) -> "Matrix":
        return Matrix(self.header, self.x[rows], self.pool[rows], self.time[rows], self.rise[rows], self.segment[rows])


def read(folder: Path) -> Matrix:
    header = json.loads((folder / "matrix.json").read_text())
    load = lambda name, dtype: np.fromfile(folder / name, dtype)
    x = load("features.f32", "<f4").reshape(header["rows"], len(header["features"]))
    m = Matrix(header, x, load("pool.u16", "<u2"), load("time.u32", "<u4"), load("rise.f32", "<f4"), load("segment.u8", "u1"))
    sizes = {len(a) for a in (m.x, m.pool, m.time, m.rise, m.segment)}
    if sizes != {header["rows"]}:
        raise SystemExit(f"{folder}: the files have {sizes} rows, matrix.json says {header['rows']}: make it again")
    return m


def make(folder: Path, options: dict) -> Matrix:
    """Runs features-main.ts. `options` are its flags; a list gives a flag several times."""
    command = [str(ROOT / "node_modules/.bin/node"), str(ROOT / "models/training/features-main.ts"), "--out", str(folder)]
    for flag, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            command += [f"--{flag}", str(each)]
    subprocess.run(command, check=True)
    return read(folder)
