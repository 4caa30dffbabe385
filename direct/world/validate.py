"""The judge, judged: reference rows, and how well PC tells ground truth from each impossible edit.

Written by `python -m direct.world validate` to reports/tiny/world_judge.md, as a rater's validation
would be: no score of a trained model is worth more than this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..common.files import write_text
from ..common.progress import Progress
from ..common.seed import stable_seed
from .corpus import Clip
from .impossible import EDITS
from .judge import METRICS, judge
from .motion import Array
from .record import Record
from .render import Film, render

Reconstruct = Callable[[Array], Array]  # uint8 [N, T, H, W, 3] -> the same, through the VAE


@dataclass(frozen=True)
class Separation:
    """ROC-AUC of PC, ground truth against one edit at one size."""

    edit: str
    size: float
    clips: int
    truth: float  # on renders
    reconstructed: float  # after the VAE


def reference_rows(
    clips: Sequence[Clip],
    models: dict[str, Callable[[Sequence[Clip]], Array]],
    rebuild: Reconstruct,
) -> dict[str, dict[str, float]]:
    """Mean scores of ground truth, its reconstruction, broken versions of it, and models."""
    videos = np.stack([clip.video() for clip in clips])
    shifted = [clips[(i + 1) % len(clips)].record for i in range(len(clips))]
    records = [clip.record for clip in clips]
    rows = {
        "ground truth": _mean(videos, records),
        "VAE reconstruction": _mean(rebuild(videos), records),
        "static first frame": _mean(np.repeat(videos[:, :1], videos.shape[1], axis=1), records),
        "shuffled captions": _mean(videos, shifted),
    }
    return rows | {name: _mean(make(clips), records) for name, make in models.items()}


def _mean(videos: Array, records: Sequence[Record]) -> dict[str, float]:
    scores = [judge(video, record) for video, record in zip(videos, records, strict=True)]
    return {name: float(np.mean([score[name] for score in scores])) for name in METRICS}


def separations(
    clips: Sequence[Clip], most: int, rebuild: Reconstruct, progress: Progress
) -> list[Separation]:
    """Every edit at every size of its curve, on the first `most` clips that it applies to."""
    jobs = [
        (edit, size, list(islice(_edited(clips, edit, size), most)))
        for edit, (_, _, _, sizes) in EDITS.items()
        for size in sizes
    ]
    needed = {clip.id: clip for _, _, pairs in jobs for clip, _ in pairs}
    truth = np.stack([clip.video() for clip in needed.values()])
    right = dict(zip(needed, _pc(needed.values(), truth), strict=True))
    right_again = dict(zip(needed, _pc(needed.values(), rebuild(truth)), strict=True))
    found = []
    for done, (edit, size, pairs) in enumerate(jobs):
        used = [clip for clip, _ in pairs]
        wrong = np.stack([render(clip.record, film) for clip, film in pairs])
        plain = auc([right[clip.id] for clip in used], _pc(used, wrong))
        again = auc([right_again[clip.id] for clip in used], _pc(used, rebuild(wrong)))
        found.append(Separation(edit, size, len(pairs), plain, again))
        progress("edits", done + 1, len(jobs))
    return found


def _edited(clips: Sequence[Clip], edit: str, size: float) -> Iterator[tuple[Clip, Film]]:
    for clip in clips:
        rng = np.random.default_rng(stable_seed("edit", edit, clip.id))
        film = EDITS[edit][0](clip.record, size, rng)
        if film is not None:
            yield clip, film


def _pc(clips: Iterable[Clip], videos: Array) -> list[float]:
    return [judge(video, clip.record)["PC"] for clip, video in zip(clips, videos, strict=True)]


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """P(score of a right clip > score of a wrong one), ties half: the area under the ROC curve."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(right, wrong).statistic / (len(right) * len(wrong)))


def report(
    folder: Path, rows: dict[str, dict[str, float]], found: list[Separation], clips: int, note: str
) -> None:
    """Writes world_judge.md and world_judge.svg."""
    lines = [
        "# The world judge, judged",
        "",
        f"{clips} validation prompts; {note} Written by `python -m direct.world validate`.",
        "The columns are named as the paper's; the scale is the world judge's own.",
        "",
        "## Reference rows",
        "",
        "| | " + " | ".join(METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{row[metric]:.3f}" for metric in METRICS) + " |"
        for name, row in rows.items()
    ]
    lines += [
        "",
        "## Ground truth against impossible edits: ROC-AUC of PC",
        "",
        "At the stated size; the caption is not known to PC. Each edit is judged on the first "
        f"{clips} validation clips that it applies to: it has to show what no law of this world "
        "shows (direct/world/impossible.py).",
        "",
        "| edit | size | clips | on renders | after the VAE |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in found:
        if one.size == EDITS[one.edit][2]:
            lines.append(
                f"| {one.edit} | {one.size:g} {EDITS[one.edit][1]} | {one.clips} | "
                f"{one.truth:.3f} | {one.reconstructed:.3f} |"
            )
    lines += [
        "",
        "## The curve over the edit's size",
        "",
        "![ROC-AUC over size](world_judge.svg)",
        "",
        "| edit | size | clips | on renders | after the VAE |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.edit} | {one.size:g} {EDITS[one.edit][1]} | {one.clips} | "
        f"{one.truth:.3f} | {one.reconstructed:.3f} |"
        for one in found
    ]
    write_text(folder / "world_judge.md", "\n".join(lines) + "\n")
    _plot(folder / "world_judge.svg", found)


def _plot(path: Path, found: list[Separation]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "direct"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 4, figsize=(11, 5), sharey=True, layout="constrained")
    for panel, edit in zip(panels.flat, EDITS, strict=False):
        mine = [one for one in found if one.edit == edit]
        sizes = [one.size for one in mine]
        panel.plot(sizes, [one.truth for one in mine], "o-", label="renders", color="#0072b2")
        panel.plot(
            sizes,
            [one.reconstructed for one in mine],
            "s--",
            label="after the VAE",
            color="#d55e00",
        )
        panel.axvline(EDITS[edit][2], color="0.7", lw=1, zorder=0)
        panel.set(title=edit, xlabel=EDITS[edit][1], ylim=(0.45, 1.02))
    panels[0, 0].set_ylabel("ROC-AUC of PC")
    panels[0, 0].legend(frameon=False, fontsize=8)
    panels.flat[-1].axis("off")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
