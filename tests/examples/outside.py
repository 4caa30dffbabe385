"""Running an example from outside the package, as its reader would: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LAST_CELL = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from direct import plugins
from direct.config import Run
from direct.profiles import profile
from direct.settings import with_values
from sweeps import cell, schema

module = plugins.load(sys.argv[1])
table = next(x for x in vars(module).values() if isinstance(x, schema.Ablation))
small = {"train.steps": 2, "train.batch": 4, "data.clips": 16, "macro.clusters": 4,
         "macro.restarts": 2, "macro.exclude_same_law": False, "loss.lambda_hard": 0.0,
         "sample.steps": 1, "evaluate.prompts": 2}
last = schema.cells(table, with_values(profile("tiny"), small), [0])[-1]
cell.write_config(Path(last.id), asdict(last.config))
result = cell.run_cell(Run(cell.read_config(Path(last.id)), Path("cache"), Path(last.id)))
shown = [schema.METRICS[name].head for name in result["scores"]]
print(json.dumps({"result": result, "folder": last.id, "shown": shown}))
"""


def run(folder: Path, *command: str, **variables: str) -> str:
    """What `python ...` prints, started in `folder`."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
