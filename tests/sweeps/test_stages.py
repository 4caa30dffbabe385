"""The real stages: the modules they name are there, and what a result notes of code and device."""

import subprocess
import sys
from importlib.util import find_spec

from direct.profiles import profile
from direct.settings import override, with_values
from sweeps.stages import REAL, SCORES

WORLD = profile("tiny")


def test_the_programs_of_workers_and_ranks_are_modules():
    assert REAL.worker[:2] == (sys.executable, "-m") and find_spec(REAL.worker[2])
    assert REAL.rank[0] == "-m" and find_spec(REAL.rank[1])
    assert all(find_spec(name) for name in SCORES)


def test_stages_import_nothing_heavy_before_they_are_called():
    code = (
        "import sys, sweeps.stages\n"
        "heavy = {'torch', 'optuna', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_code_of_a_score_is_what_trains_and_judges_and_of_a_measurement_what_measures():
    scores = REAL.code(WORLD)
    alignment = REAL.code(with_values(WORLD, {"measure.kind": "alignment"}))
    assert {"direct.train.loop", "direct.evaluate.judge", "direct.loss"} <= set(scores)
    assert "direct.measure.alignment" in alignment and "direct.measure.alignment" not in scores
    assert not any(name.startswith("sweeps") for name in scores)


def test_the_worlds_code_counts_only_where_clips_are_of_the_world():
    inside = REAL.code(WORLD)
    outside = REAL.code(override(profile("wan2.1-t2v-1.3b"), "threads=1"))
    world = {name for name in inside if "direct.world" in name}
    assert world and not any("direct.world" in name for name in outside)
    assert {name: own for name, own in inside.items() if name not in world} == outside
