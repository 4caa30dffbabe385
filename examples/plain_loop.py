"""The loss in a training loop of one's own, in the manner of diffusers' examples.

python examples/plain_loop.py
"""

import torch
from diffusers import WanTransformer3DModel

from direct import flow, noise, velocity_loss

STEPS, BATCH, SEED = 4, 2, 0
SIZE = {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4}
SIZE |= {"text_dim": 8, "freq_dim": 16, "ffn_dim": 32, "num_layers": 1}

torch.manual_seed(SEED)
model, base = WanTransformer3DModel(**SIZE), WanTransformer3DModel(**SIZE)
base.load_state_dict(model.state_dict())
base.requires_grad_(False)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
clips = torch.randn(8, 4, 3, 4, 4)  # stands for latents of your data
prompts = torch.randn(8, 6, 8)  # and for embeddings of its prompts

for step in range(STEPS):
    chosen = torch.from_numpy(noise.indices(SEED, step, BATCH, len(clips)))
    other = (chosen + 1) % len(clips)  # a negative: any other clip
    x, text = clips[chosen], prompts[chosen]
    key = noise.keys(SEED, step, range(BATCH))
    t = torch.as_tensor(flow.sample_times(SEED, step, BATCH, 3.0))
    x_t = noise.interpolate(x, key, t)  # (1 - t) x + t eps; eps is drawn again in the loss
    with torch.no_grad():
        v_ref = base(x_t, 1000 * t, text, return_dict=False)[0]
    v = model(x_t, 1000 * t, text, return_dict=False)[0]
    weights = {"lambda_rand": 0.005, "lambda_anc": 0.2}
    out = velocity_loss(
        v, x, None, rand_latents=clips[other], reference=v_ref, noise_key=key, **weights
    )
    out.guarded().backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step, f"{out.loss.item():.4f}", [f"{d:.3f}" for d in out.distances.mean(0).tolist()])
