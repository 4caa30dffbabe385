"""A gallery as files: `gallery.json`, and the figures and the page that are drawn from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from direct.common.files import canonical_json, read_sealed, sealed, set_aside, write_text
from direct.common.text import plain

from . import clips
from .gallery import FIGURES, LEGEND, SHORT, WORDS, Example, Figure, Gallery
from .layout import escape_markdown

RULE = (
    "The prompts are chosen by a rule that was fixed before any clip was seen: of all "
    "evaluation prompts those with the largest gain, the median and the largest loss of PC, "
    "and some drawn at random, not selected by hand."
)
PEERS = (
    "The paper's Figure 5 and S2 show other models (CogVideoX-2B, Allegro, LTX); they need "
    "the profile wan2.1-t2v-1.3b. The figure shows the models of this profile instead."
)


def write(found: Gallery, folder: Path) -> list[Path]:
    """`gallery.json`, and per figure an SVG filmstrip and its caption."""
    record = json.loads(canonical_json(asdict(found)))
    texts = {"gallery.json": sealed(record)}
    for figure in FIGURES:
        rows = [(_why(x), x.prompt, x.clips) for x in found.examples if x.figure == figure.name]
        texts[f"{figure.name}.svg"] = clips.filmstrip(rows, found.size)
        texts[f"{figure.name}.md"] = _markdown(figure, found)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def read(folder: Path) -> Gallery | None:
    """The folder's gallery; a damaged one is named, set aside and absent."""
    path = folder / "gallery.json"
    try:
        return _gallery(read_sealed(path))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        set_aside(path)
        return None


def _gallery(record: dict[str, Any]) -> Gallery:
    examples = tuple(
        Example(
            str(x["figure"]),
            str(x["pick"]),
            float(x["difference"]),
            str(x["id"]),
            str(x["prompt"]),
            tuple(clips.clip_of(clip) for clip in x["clips"]),
        )
        for x in record["examples"]
    )
    width, height, frames = (int(n) for n in record["size"])
    return Gallery(
        str(record["key"]),
        str(record["judge"]),
        int(record["seed"]),
        int(record["prompts"]),
        (width, height, frames),
        tuple(map(str, record["cells"])),
        tuple(map(str, record["commits"])),
        examples,
    )


def _why(x: Example) -> str:
    """How the prompt was chosen, and what DiReCT changes on it."""
    figure = next(figure for figure in FIGURES if figure.name == x.figure)
    return f"{WORDS[x.pick]}; DiReCT minus {SHORT[figure.against]}: {100 * x.difference:+z.0f}"


def caption(found: Gallery) -> str:
    return plain(
        f"Clips of Table 1's models, training seed {found.seed}; every clip of a prompt starts "
        f"from the same noise. {RULE} Chosen from {found.prompts} prompts. Scores in percent: "
        f"{found.judge}. {LEGEND} Commit {', '.join(found.commits)}."
    )


def _markdown(figure: Figure, found: Gallery) -> str:
    parts = [
        f"# {figure.title}",
        f"![{figure.title}]({figure.name}.svg)",
        escape_markdown(caption(found)),
    ]
    if figure.name != "figure_1":
        parts.append(escape_markdown(PEERS))
    rows = [
        f"- {escape_markdown(x.prompt)} ({escape_markdown(_why(x))}; {x.id}): "
        + "; ".join(f"{clip.label} {clips.score_words(clip)}" for clip in x.clips)
        for x in found.examples
        if x.figure == figure.name
    ]
    return "\n\n".join([*parts, "\n".join(rows)]) + "\n"


def shown(found: Gallery) -> dict[str, Any]:
    """What the page shows of it."""
    return {
        "caption": caption(found),
        "note": PEERS,
        "size": found.size,
        "figures": [
            {
                "title": figure.title,
                "examples": [
                    {
                        "prompt": x.prompt,
                        "why": _why(x),
                        "base": SHORT[figure.against],
                        "films": [*map(clips.film, x.clips)],
                    }
                    for x in found.examples
                    if x.figure == figure.name
                ],
            }
            for figure in FIGURES
        ],
    }
