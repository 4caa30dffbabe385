"""A table of one's own: does the anchor need another strength at a higher learning rate?

python -m sweeps.run examples/own_table.py --dry-run  # its cells and what they cost
python -m sweeps.run examples/own_table.py            # -> reports/tiny/own_table/
"""

from sweeps import Ablation, Row

FASTER = {"train.learning_rate": 6e-4}

anchor = Ablation(
    name="anchor",
    title="The anchor's strength at twice the learning rate",
    header="Training",
    rows=(
        Row("as it is"),
        Row("faster", FASTER),
        Row("faster, twice the anchor", {**FASTER, "loss.lambda_anc": 0.4}),
        Row("faster, no anchor", {**FASTER, "loss.lambda_anc": 0.0}),
    ),
    baseline="faster",
    contrasts=(("faster, twice the anchor", "PC"), ("faster, no anchor", "PC")),
)
