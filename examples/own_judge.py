"""A judge of one's own: how near a clip's middle picture is to its caption, by a CLIP model.

python -m sweeps.run examples/own_judge.py
"""

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel

from direct import plugins
from sweeps import Ablation, Row

SIZE, WORDS = 32, 16


@plugins.judge(image_text=plugins.Score("image-text cosine", scale=100, decimals=1))
def clip_score():
    """The cosine of picture and caption; of a small random CLIP here, so that it runs offline."""
    part = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    vision = part | {"image_size": SIZE, "patch_size": 8}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=part | {"eos_token_id": 1}, vision_config=vision)
    model = CLIPModel(config).eval()

    @torch.no_grad()
    def score(video, sample):
        pixels = torch.from_numpy(video[len(video) // 2]).permute(2, 0, 1)[None] / 127.5 - 1
        letters = sample.prompt.encode()[:WORDS].ljust(WORDS, b"\1")
        found = model(torch.tensor([list(letters)]), F.interpolate(pixels, (SIZE, SIZE)))
        return {"image_text": float(F.cosine_similarity(found.image_embeds, found.text_embeds))}

    return score


JUDGED = Ablation(
    name="anchor",
    title="The anchor, by a judge of ours",
    rows=(Row("λ_anc = 0.2"), Row("λ_anc = 0", {"loss.lambda_anc": 0.0})),
    common={"evaluate.judge": "clip_score"},
)
