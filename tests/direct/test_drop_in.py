"""The ten lines of docs/method.md in someone else's training loop: that text itself is executed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import direct
from direct.models import pipeline
from direct.negatives import macro

DOCS = Path(direct.__file__).parent.parent / "docs" / "method.md"

# In the style of diffusers' training scripts: their names, Accelerator, and a mean squared error.
SCRIPT = """
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
transformer = load().train().requires_grad_(True)
optimizer = torch.optim.AdamW(transformer.parameters(), lr=1e-3)
dataset = [{"index": i, "latents": all_latents[i], "prompt_embeds": prompt_embeds[i],
            "hard_latents": all_hard_latents[i]} for i in range(len(all_latents))]
dataloader = torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)
transformer, optimizer, dataloader = accelerator.prepare(transformer, optimizer, dataloader)
<once>
for step, batch in enumerate(dataloader):
    with accelerator.accumulate(transformer):
        latents, prompt = batch["latents"], batch["prompt_embeds"]
        noise = torch.randn_like(latents)
        sigmas = torch.rand(len(latents))
        timesteps = 1000 * sigmas
        sigmas = sigmas.view(-1, 1, 1, 1, 1)
        noisy_model_input = (1.0 - sigmas) * latents + sigmas * noise
        model_pred = transformer(noisy_model_input, timesteps, prompt, return_dict=False)[0]
        <each step>
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        watch(locals())
    if step == 2:
        break
"""


def blocks() -> list[str]:
    section = DOCS.read_text().split("## Drop-in")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
def test_nine_statements_train_by_equation_6_in_a_script_of_diffusers_style(pipeline_folder):
    once, each = blocks()
    statements = [x for x in ast.walk(ast.parse(once + each)) if isinstance(x, ast.stmt)]
    assert len(statements) == 9, "as docs/method.md says"
    script = SCRIPT.replace("<once>\n", once)
    script = script.replace("        <each step>\n", re.sub(r"(?m)^(?=.)", " " * 8, each))
    torch.manual_seed(0)
    seen = []
    names = {
        "torch": torch,
        "load": lambda: pipeline.load_transformer(str(pipeline_folder)),
        "all_latents": torch.randn(64, 4, 2, 4, 4),
        "all_hard_latents": torch.randn(64, 4, 2, 4, 4),
        "prompt_embeds": torch.randn(64, 12, 24),
        "prompt_lengths": torch.full((64,), 12),
        "watch": lambda scope: seen.append(dict(scope)),
    }
    exec(compile(script, "script", "exec"), names)
    assert len(seen) == 3
    for scope in seen:
        v, x, eps = scope["model_pred"].detach(), scope["latents"], scope["noise"]
        out, rand = scope["out"], scope["rand"]
        d_fm = (v - (eps - x)).square().flatten(1).mean(1)
        torch.testing.assert_close(out.distances[:, 0], d_fm, rtol=1e-4, atol=1e-5)
        d_anc = (v - scope["v_ref"]).square().flatten(1).mean(1)
        torch.testing.assert_close(out.distances[:, 3], d_anc, rtol=1e-4, atol=1e-5)
        terms = torch.tensor([1, -0.005, -0.02, 0.2]) * out.distances
        torch.testing.assert_close(scope["loss"].detach(), terms.sum(1).mean())
        labels, index = scope["labels"], scope["batch"]["index"].numpy()
        assert (labels[rand] != labels[index]).all()  # Eq. 2
    assert seen[0]["out"].distances[:, 3].max() == 0 < seen[2]["out"].distances[:, 3].min()
    z = macro.pool(names["prompt_embeds"], names["prompt_lengths"])
    assert (macro.partition(z.double().numpy(), 32)[0] == seen[0]["labels"]).all()
