"""Clips by a rule: who is chosen, and what cannot be shown."""

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.config import Run
from sweeps.report import gallery

from .galleries import CELLS, RECORDS, made


@pytest.fixture
def stages(monkeypatch, tmp_path):
    return made(monkeypatch, tmp_path)[:3]


def test_the_rule_by_hand():
    rng = np.random.default_rng(5)
    d = rng.normal(size=31).tolist()
    order = np.argsort(d)[::-1]
    first, second, third = gallery.FIGURES
    assert gallery.choose(first, d, set(), 0) == [order[0], order[15], order[-1]]
    taken = {int(order[0]), int(order[-1])}
    assert gallery.choose(second, d, taken, 0) == [order[1], order[-2]]
    lot = gallery.choose(third, d, taken, 0)
    assert len(set(lot)) == 3 and not set(lot) & taken
    assert lot == gallery.choose(third, rng.normal(size=31).tolist(), taken, 0), "blind to scores"
    assert gallery.choose(first, [0.0] * 9, set(), 0) == [0, 4, 8], "ties: the first comes first"
    with pytest.raises(UserError, match="use more --prompts"):
        gallery.choose(third, [0.0, 1.0, 2.0], {1}, 0)


def test_lots_differ_between_seeds():
    third = gallery.FIGURES[2]
    assert len({tuple(gallery.choose(third, [0.0] * 50, set(), seed)) for seed in range(5)}) == 5


@pytest.mark.slow
def test_the_gallery_holds_what_the_rule_chose(stages):
    results, decoded, root = stages
    found = gallery.gather(CELLS, root, root)
    assert len(decoded) == len(set(decoded)) == len(gallery.ABLATION.rows)
    assert len({x.id for x in found.examples}) == len(found.examples) == 8
    first = {cell.row: results[cell.id] for cell in CELLS if cell.config.seed == 0}
    assert found.seed == 0 and found.prompts == 12
    for x in found.examples:
        figure = next(f for f in gallery.FIGURES if f.name == x.figure)
        i = first[gallery.DIRECT]["prompts"].index(x.id)
        assert x.prompt == RECORDS[i].caption
        pc = {row: result["scores"]["PC"][i] for row, result in first.items()}
        assert x.difference == pc[gallery.DIRECT] - pc[figure.against]
        assert [c.label for c in x.clips] == [
            gallery.TRUTH,
            *(gallery.SHORT[r] for r in figure.rows),
        ]
        assert [c.scores["PC"] for c in x.clips[1:]] == [pc[row] for row in figure.rows]
        assert x.clips[0].scores["PC"] > 0.8
    best = max(
        range(12),
        key=lambda i: (
            first[gallery.DIRECT]["scores"]["PC"][i] - first[gallery.BASE]["scores"]["PC"][i]
        ),
    )
    assert found.examples[0].id == f"p{best}"


def test_what_cannot_be_shown_is_said(stages, tmp_path):
    results, _, root = stages
    trained = next(cell for cell in CELLS if cell.row == gallery.SFT)
    (root / trained.id / "transformer").rmdir()
    with pytest.raises(UserError, match="neither clips nor a model"):
        gallery.gather(CELLS, root, root)
    results[trained.id]["status"] = "diverged"
    with pytest.raises(UserError, match="diverged"):
        gallery.gather(CELLS, root, root)


@pytest.mark.slow
def test_decoded_as_the_judge_saw_it(tmp_path):
    import torch

    from direct.common.files import save_arrays
    from direct.models import codec
    from direct.models.pipeline import load_pipeline

    config = next(cell for cell in CELLS if cell.row == gallery.BASE).config
    pipeline = load_pipeline("tiny", without=("transformer", "text_encoder"))
    channels, stride = pipeline.vae.config.z_dim, pipeline.vae.config.scale_factor_spatial
    latents = torch.randn(
        3, channels, 5, 32 // stride, 32 // stride, generator=torch.Generator().manual_seed(0)
    )
    save_arrays(tmp_path / "samples.safetensors", {"latents": latents})
    torch.set_num_threads(config.threads)  # some processors' convolutions add in another order
    whole = codec.decode_latents(pipeline, latents)
    assert (gallery.decode(Run(config, tmp_path, tmp_path), [2, 0]) == whole[[2, 0]]).all()
