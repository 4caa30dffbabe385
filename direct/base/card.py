"""The model card of a packaged pipeline: how it came to be, and what the world judge says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..common.files import write_text

TEXT = """---
library_name: diffusers
pipeline_tag: text-to-video
license: apache-2.0
---
# A miniature Wan on the procedural physics world

A genuine `diffusers.WanPipeline` (`WanTransformer3DModel`, `AutoencoderKLWan`,
`UMT5EncoderModel`, `T5Tokenizer`, `FlowMatchEulerDiscreteScheduler`) of {parameters:,} parameters,
32x32 pixels, 17 frames. It is the base model of DiReCT's `tiny` profile: good enough to be judged,
flawed on purpose.

## How it came to be

    python -m direct.base --out direct/weights/tiny

trains it from nothing on renders of `direct.world`'s *pretraining* corpus, in which
{impossible:.0%} of the clips show a motion that no law allows and {miscaptioned:.0%} a valid motion
of another caption. No video, weight or text of others went in. Settings and final losses:

```json
{settings}
```

What the world judge says of it on validation prompts; more, and what the judge is worth, is in
`reports/tiny/world_judge.md` (`python -m direct.world validate`):

{scores}

## What it is for

Ablations of post-training on two cores. Its scores are the world judge's: they are not VideoPhy's,
and nothing about Wan 2.1 follows from them.
"""


def write(folder: Path, settings: dict[str, Any], scores: dict[str, dict[str, float]]) -> None:
    """Writes README.md into a saved pipeline's folder. scores: by row and metric."""
    from safetensors import safe_open

    from ..world.corpus import IMPOSSIBLE_SHARE, MISCAPTIONED_SHARE

    parameters = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                count = 1
                for size in tensors.get_slice(name).get_shape():
                    count *= size
                parameters += count
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in settings.items()]
    text = TEXT.format(
        parameters=parameters,
        impossible=IMPOSSIBLE_SHARE,
        miscaptioned=MISCAPTIONED_SHARE,
        settings="{\n" + ",\n".join(lines) + "\n}",
        scores=_table(scores),
    )
    write_text(folder / "README.md", text)


def _table(scores: dict[str, dict[str, float]]) -> str:
    metrics = list(next(iter(scores.values())))
    rows = [["", *metrics], ["---", *["---:"] * len(metrics)]]
    rows += [[name, *(f"{row[metric]:.3f}" for metric in metrics)] for name, row in scores.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
