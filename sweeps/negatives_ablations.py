"""Whether what MiNS trains can be had without training: a gain about a prompt's own negatives.

Declared before the run, for seeds on which nobody had looked at MiNS without guidance. There are
two tables because a table's intervals share one variance over seeds, and MiNS as it is drawn would
make it larger for all rows. What can be decided, planned with the variances of seeds 0 to 5
(`coverage.planned_detectable`, 8 seeds, 192 prompts, Holm over the family): MiNS as it is drawn is
told from SFT from 1.1 points of PC on, so the second table cannot show equivalence within half a
point, but it finds a difference of 2 points. MiNS in expectation has no draws of its own. If it
varies as the gain about the mean clip does against random negatives, 0.3 points are found.
"""

from __future__ import annotations

from dataclasses import replace

from .mechanism_ablations import UNGUIDED, UNTRAINED, WITHOUT_GUIDANCE, strong
from .schema import Ablation, Row

MINS, IN_EXPECTATION = strong("+ MiNS"), "+ MiNS, 0.05, in expectation"
OWN = "+ SFT with the gain of 0.05 about the prompt's own negatives"

# The same expected gradient: all kept negatives' mean latent, and the mean of their noise
_EXPECTED = Row(
    IN_EXPECTATION,
    {
        **WITHOUT_GUIDANCE[MINS].values,
        "loss.hard_negative": "mean",
        "loss.negative_noise": "marginal",
    },
)
_OWN = Row(OWN, {**WITHOUT_GUIDANCE[UNTRAINED].values, "sample.gain_about": "negatives"})

_TABLE = Ablation(
    name="own_negatives",
    table="Own negatives",
    title="A gain about the prompt's own negatives without training, and MiNS in expectation",
    header="Method, without guidance",
    common=UNGUIDED,
    rows=(WITHOUT_GUIDANCE["+ SFT"], _EXPECTED, _OWN, WITHOUT_GUIDANCE[UNTRAINED]),
    baseline="+ SFT",
    contrasts=((IN_EXPECTATION, "PC"), (OWN, "PC")),
    seeds=tuple(range(6, 14)),
    extra=True,
)
_DRAWN = replace(
    _TABLE,
    name="own_negatives_drawn",
    table="Own negatives, drawn",
    title="A gain about the prompt's own negatives without training, and MiNS as it is drawn",
    rows=(WITHOUT_GUIDANCE["+ SFT"], WITHOUT_GUIDANCE[MINS], _OWN, WITHOUT_GUIDANCE[UNTRAINED]),
    contrasts=((MINS, "PC"),),
)

NEGATIVES = (_TABLE, _DRAWN)
