"""The small Wan pipeline, loaded once per file."""

from __future__ import annotations

import pytest

from direct.models.pipeline import load_pipeline


@pytest.fixture(scope="module")
def pipeline(pipeline_folder):
    return load_pipeline(str(pipeline_folder))
