"""Table 2's other models: where their weights are, and the settings that their authors use."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..common.errors import UserError, nearest
from ..profiles import LTX, WAN_1_3B, WAN_14B


@dataclass(frozen=True)
class Peer:
    """A model: its pipeline's class, its weights, and what its authors run it with."""

    pipeline: str
    repository: str  # on the hub, at a commit
    fps: int  # that its card or pipeline exports at
    dtype: torch.dtype = torch.bfloat16
    vae: torch.dtype = torch.bfloat16
    tiling: bool = False  # of the VAE's decoder, where it has no other way


PEERS = {
    "cogvideox-2b": Peer(
        "CogVideoXPipeline",
        "THUDM/CogVideoX-2b@1137dacfc2c9c012bed6a0793f4ecf2ca8e7ba01",
        8,
        torch.float16,
        torch.float16,
    ),
    "cogvideox-5b": Peer(
        "CogVideoXPipeline", "THUDM/CogVideoX-5b@8d6ea3f817438460b25595a120f109b88d5fdfad", 8
    ),
    "ltx-video": Peer("LTXPipeline", LTX, 25),
    "allegro": Peer(
        "AllegroPipeline",
        "rhymes-ai/Allegro@c1b9207bb5cb79e2aa08f3d139c17d26c0de55b6",
        15,
        vae=torch.float32,
        tiling=True,
    ),
    "mochi": Peer(
        "MochiPipeline", "genmo/mochi-1-preview@14be5fcea23095ed330cb214647916a451e38b6e", 30
    ),
    "wan2.1-t2v-1.3b": Peer("WanPipeline", WAN_1_3B, 16, vae=torch.float32),
    "wan2.1-t2v-14b": Peer("WanPipeline", WAN_14B, 16, vae=torch.float32),
}


def named(name: str) -> Peer:
    if name not in PEERS:
        raise UserError(f"model.pipeline=peer:{name} names no peer; {nearest(name, PEERS)}")
    return PEERS[name]
