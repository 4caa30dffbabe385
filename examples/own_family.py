"""A family of models of one's own: Wan's parts, with a transformer that predicts x_0 - eps.

    DIRECT_PLUGINS=examples/own_family.py python -m direct.train --set model.pipeline=FOLDER

`save(FOLDER)` writes such a pipeline, from the miniature in this package.
"""

from types import SimpleNamespace

import torch
from diffusers import WanPipeline

from direct import plugins
from direct.models import pipeline
from direct.models.families import wan


class BackwardPipeline(WanPipeline):
    """Its transformer's velocity points the other way."""


@plugins.family
def backward():
    """Wan with the opposite sign: what differs from Wan is its velocity."""
    own = {"PIPELINE": "BackwardPipeline", "CLASSES": {"BackwardPipeline": BackwardPipeline}}
    return SimpleNamespace(**vars(wan) | own | {"velocity": velocity})


def velocity(model, vae_config):
    wans = wan.velocity(model, vae_config)
    return lambda forward, x_t, t, text: -wans(forward, x_t, t, text)


def save(folder):
    made = BackwardPipeline(**pipeline.load_pipeline("tiny").components)
    with torch.no_grad():
        made.transformer.proj_out.weight.neg_()
        made.transformer.proj_out.bias.neg_()
    made.save_pretrained(folder)
