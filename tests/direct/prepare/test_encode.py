"""What the frozen pipeline makes of prompts and clips, cached."""

from __future__ import annotations

import numpy as np
import torch

from direct.config import Run
from direct.models import codec
from direct.models import pipeline as pipeline_module
from direct.negatives import macro
from direct.prepare import shared
from direct.prepare.encode import pooled


def test_shared_reads_what_the_models_compute(small, tmp_path, pipeline_folder):
    config = small()
    data = shared.open_shared(Run(config, tmp_path))
    pipeline = pipeline_module.load_pipeline(str(pipeline_folder))
    chosen = np.array([7, 0, 7])
    videos = np.stack([data.samples[i].video() for i in chosen])
    assert torch.equal(data.latents(chosen), codec.encode_videos(pipeline, videos))
    prompts = [data.samples[3].prompt, ""]
    assert torch.equal(data.text(prompts), codec.encode_prompts(pipeline, prompts, 12)[0])
    embeddings, lengths = codec.encode_prompts(pipeline, prompts, 12)
    z = pooled(Run(config, tmp_path), prompts)
    np.testing.assert_allclose(z, macro.pool(embeddings, lengths).numpy(), rtol=1e-6)


def test_damaged_latents_are_named_and_made_again(small, tmp_path, capsys):
    config = small()
    shared.build(Run(config, tmp_path))
    (path,) = (tmp_path / "latents").rglob("*.safetensors")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    shared.build(Run(config, tmp_path))
    assert path.read_bytes() == good and path.name in capsys.readouterr().out
