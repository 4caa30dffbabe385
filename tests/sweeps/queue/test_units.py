"""What a cell has to do, and the figures of profiles that have none of their own."""

from made_up_readings import BASE

from direct.settings import with_values
from sweeps.queue.units import DEFAULTS, default_rates, units_of


def test_measured_steps_are_several_steps_of_training():
    config = with_values(BASE, {"measure.kind": "alignment", "measure.steps": 10})
    assert units_of(config) == {"train": 40, "generate": 0, "judge": 0}
    config = with_values(BASE, {"measure.kind": "cost", "measure.iterations": 10})
    assert units_of(config)["train"] == 30


def test_a_plug_ins_profile_of_the_packaged_pipeline_costs_what_tiny_does(plugged):
    plugged(
        "from dataclasses import replace\nfrom direct.profiles import tiny\n\n\n@plugins.profile\n"
        'def mine():\n    return replace(tiny(), profile="mine")\n'
    )
    assert default_rates("mine") == DEFAULTS["tiny"]
