"""The manifest in deploy/: what it starts is what this program takes, and its pods have what cells
need. KubeRay's definition of a RayJob is not here; docs/queue.md says when it was checked."""

import shlex
from pathlib import Path

import pytest
import yaml

from direct.profiles import profile
from sweeps.options import options_of, workers_of

ROOT = Path(__file__).parent.parent
JOB = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
(GROUP,) = CLUSTER["workerGroupSpecs"]
PODS = [group["template"]["spec"] for group in (CLUSTER["headGroupSpec"], GROUP)]


def asked():
    python, module, name, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    assert (python, module, name) == ("python", "-m", "sweeps.run")
    return options_of(arguments)


def test_it_is_a_job_of_kuberay():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")


def test_a_worker_pod_holds_exactly_one_cell():
    options = asked()
    workers = workers_of(options, profile(options.profile))
    assert workers.launcher == "ray" and not workers.join
    (container,) = PODS[1]["containers"]
    for kind in ("limits", "requests"):
        assert int(container["resources"][kind]["nvidia.com/gpu"]) == workers.gpus
        assert int(container["resources"][kind]["cpu"]) >= profile(options.profile).threads


def test_pods_come_with_cells_and_go_with_them_and_none_runs_beside_the_planner():
    assert CLUSTER["enableInTreeAutoscaling"] is True and GROUP["minReplicas"] == 0
    assert GROUP["maxReplicas"] > GROUP["replicas"] == 0
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_all_pods_see_the_folder_that_the_sweep_writes():
    claims = [pod["volumes"] for pod in PODS]
    assert claims[0] == claims[1] and "persistentVolumeClaim" in claims[0][0]
    for pod in PODS:
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert mount == {"name": claims[0][0]["name"], "mountPath": asked().out}


@pytest.mark.parametrize("pod", PODS)
def test_every_pod_is_a_host_of_its_own_and_sends_no_statistics(pod):
    """Leases tell hosts apart by name; a pod that is started again would be another node."""
    assert not pod.get("hostNetwork") and pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    assert given["RAY_USAGE_STATS_ENABLED"] == "0"


def test_its_version_of_ray_is_the_one_that_is_tested():
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={CLUSTER['rayVersion']}" in pinned
    assert all(pod["containers"][0]["image"].endswith(CLUSTER["rayVersion"]) for pod in PODS)
