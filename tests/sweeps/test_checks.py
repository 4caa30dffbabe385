"""What a run would refuse, before any work: sizes, pipeline, judge, metrics, prompts."""

import json
import sys
from dataclasses import replace

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import Ablation, Row
from sweeps.ablations import ABLATIONS
from sweeps.checks import check, check_machine
from sweeps.experiments import Experiment
from sweeps.queue.sweep import Sweep, Workers
from sweeps.schema import cells
from sweeps.stages import REAL

TWO = (Row("one"), Row("two", {"loss.lambda_hard": 0.1}))


def experiment(*changes, rows=TWO, base="tiny", own=True, **more):
    config = override(profile(base), *changes)
    table = Ablation("own", rows=rows, baseline="one", **{"contrasts": (), **more})
    return Experiment("own", table, tuple(cells(table, config, (0,))), config, own)


@pytest.mark.parametrize("name", ["lambda_hard", "guidance", "alignment", "cost", "dynamics"])
def test_the_tables_of_this_package_are_not_refused(name):
    table, base = ABLATIONS[name], profile("tiny")
    check(Experiment(name, table, tuple(cells(table, base, (0,))), base, own=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.frames=18", "model.frames=18 must be a multiple of 4, plus one"),
        ("model.height=33", "model.height=33 must be a multiple of"),
        ("model.width=33", "model.width=33 must be a multiple of"),
        ("model.pipeline=no/such/folder", "is not 'tiny', a folder or a hub id"),
        ("model.pipeline=owner/name", "does not say which commit"),
        ("evaluate.judge=videophy", "evaluate.judge=videophy judges clips of its own"),
        ("train.expert=low_noise", "tiny has one transformer; set train.expert=only"),
        ("sample.guidance_low=2", "tiny has one transformer; set sample.guidance_low=0"),
    ],
)
def test_sizes_pipelines_and_judges_are_known_without_work(change, said):
    with pytest.raises(UserError) as error:
        check(experiment(change))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"run: pip install wandb$"):
        check(experiment("train.report_to=wandb"))


@pytest.mark.slow
def test_a_folder_that_is_no_pipeline_says_what_it_lacks(tmp_path):
    with pytest.raises(UserError, match=r"has no model_index\.json"):
        check(experiment(f"model.pipeline={tmp_path}"))
    (tmp_path / "model_index.json").touch()
    with pytest.raises(UserError, match=r"has no transformer/config\.json"):
        check(experiment(f"model.pipeline={tmp_path}"))
    for part, kind in (("transformer", "FluxTransformer"), ("vae", "AutoencoderKL")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(UserError, match="FluxTransformer, which is not trained here"):
        check(experiment(f"model.pipeline={tmp_path}"))


def test_a_benchmark_has_so_many_prompts():
    paper = "wan2.1-t2v-1.3b"
    check(experiment("evaluate.prompts=344", base=paper))
    with pytest.raises(UserError, match=r"evaluate\.prompts=345, but videophy has 344"):
        check(experiment("evaluate.prompts=345", base=paper))
    with pytest.raises(UserError, match="videophy has no validation prompts"):
        check(experiment("evaluate.split=validation", base=paper))


def test_a_contrast_is_on_what_the_judge_gives():
    paper = {"base": "wan2.1-t2v-1.3b", "metrics": ("PC", "Total")}
    check(experiment(contrasts=(("two", "PC"),), **paper))
    with pytest.raises(UserError, match=r"gives no Total, .* it gives SA, PC, AVG"):
        check(experiment(contrasts=(("two", "Total"),), **paper))
    check(experiment(metrics=("Total",), contrasts=(("two", "Total"),)))


def test_rows_are_judged_on_the_same_prompts():
    rows = (Row("one"), Row("two", {"evaluate.prompts": 7}))
    with pytest.raises(UserError, match=r"row 'two' has evaluate.prompts=7 and row 'one' has 192"):
        check(experiment(rows=rows))


def test_rows_that_are_one_cell_are_no_table():
    rows = (Row("one"), Row("two", {"train.checkpoint_every": 7}))
    with pytest.raises(UserError, match=r"train\.checkpoint_every cannot change a result here"):
        check(experiment(rows=rows))
    check(experiment(rows=rows[:1]))


def test_a_table_without_a_row_for_the_profile_is_named():
    rows = (Row("one", profile="ltx-video"),)
    with pytest.raises(UserError, match="no row of own runs on profile tiny"):
        check(experiment(rows=rows))


def sweep(*changes, gpus=0, workers=None):
    asked = experiment(*changes)
    stages = replace(REAL, gpus=lambda: gpus)
    return Sweep(asked.table, list(asked.cells), None, None, workers or Workers(1), stages)


def test_gpus_that_are_not_there_are_refused():
    check_machine(sweep(gpus=4, workers=Workers(2, gpus=2)))
    check_machine(sweep(workers=Workers(9)))
    with pytest.raises(
        UserError, match=r"--gpus-per-cell 2 with 2 workers needs 4 GPUs, .* use 3;"
    ):
        check_machine(sweep(gpus=3, workers=Workers(2, gpus=2)))
    check_machine(sweep(gpus=0, workers=Workers(2, gpus=2, launcher="slurm")))


@pytest.mark.slow
def test_a_backend_without_its_device_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("auto", "eager"):
        check_machine(sweep(f"loss.backend={name}"))
    with pytest.raises(UserError, match="backend is 'cuda', but v is on cpu; use 'auto'"):
        check_machine(sweep("loss.backend=cuda"))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_sizes_of_a_folder_that_are_none_are_one_sentence(tmp_path, part):
    files = {
        "transformer": {"_class_name": "WanTransformer3DModel", "patch_size": [1, 1, 1]},
        "vae": {
            "_class_name": "AutoencoderKLWan",
            "scale_factor_temporal": 4,
            "scale_factor_spatial": 4,
        },
    }
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    for name, value in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(value))
    check(experiment(f"model.pipeline={tmp_path}"))
    wrong = {"transformer": {"patch_size": [1, 1]}, "vae": {"scale_factor_temporal": 0}}[part]
    path = tmp_path / part / "config.json"
    path.write_text(json.dumps(files[part] | wrong))
    with pytest.raises(UserError, match=r"the sizes in its config.json files are none"):
        check(experiment(f"model.pipeline={tmp_path}"))
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"config.json is not an object"):
        check(experiment(f"model.pipeline={tmp_path}"))
