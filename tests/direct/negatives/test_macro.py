"""MaNS against brute force: pooling, partition, exclusion and the uniformity of what is left."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from scipy import stats

from direct.common.errors import UserError
from direct.negatives import macro


def labelled(n: int = 60, clusters: int = 4, laws: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(clusters, size=n), np.array(["melt", "fall", "bend"])[
        rng.integers(laws, size=n)
    ]


def test_pool_is_the_mean_over_valid_tokens():
    embeddings, lengths = torch.randn(3, 5, 4), torch.tensor([5, 1, 3])
    expected = torch.stack([e[:n].mean(0) for e, n in zip(embeddings, lengths, strict=True)])
    torch.testing.assert_close(macro.pool(embeddings, lengths), expected)


@pytest.mark.slow
def test_partition_finds_the_best_of_all_assignments():
    z = np.random.default_rng(1).normal(size=(8, 2))
    labels, inertia = macro.partition(z, 3, restarts=50)

    def cost(assignment):
        groups = [z[np.array(assignment) == k] for k in range(3)]
        return sum(((g - g.mean(0)) ** 2).sum() for g in groups if len(g))

    best = min(cost(a) for a in itertools.product(range(3), repeat=8))
    assert inertia == pytest.approx(best) == pytest.approx(cost(labels))
    assert np.array_equal(macro.partition(z, 3, restarts=50)[0], labels)


@pytest.mark.parametrize("with_law", [False, True])
def test_draws_are_uniform_over_exactly_the_allowed(with_law):
    clusters, laws = labelled()
    pools = macro.exclusion(clusters, laws if with_law else None)
    for sample in (0, 17, 59):
        allowed = clusters != clusters[sample]
        if with_law:
            allowed &= laws != laws[sample]
        u = (np.arange(20_000) + 0.5) / 20_000
        drawn = macro.draw(pools, np.full(20_000, sample), u)
        counts = np.bincount(drawn, minlength=60)
        assert (counts[~allowed] == 0).all()
        assert np.ptp(counts[allowed]) <= 1  # an even u gives each its equal share
        assert macro.draw(pools, np.array([sample]), np.array([np.nextafter(1, 0)])).size == 1
    random = macro.draw(pools, np.full(20_000, 3), macro.uniforms(0, 0, 20_000))
    seen = np.bincount(random, minlength=60)
    assert stats.chisquare(seen[seen > 0]).pvalue > 1e-3


def test_excluded_share_counts_the_draws_that_change():
    clusters, laws = labelled()
    alone, both = macro.exclusion(clusters), macro.exclusion(clusters, laws)
    p = np.bincount(clusters) / len(clusters)
    assert alone.excluded_share == pytest.approx((p**2).sum())
    pairs = (clusters[:, None] == clusters) | (laws[:, None] == laws)
    assert both.excluded_share == pytest.approx(pairs.mean())


@pytest.mark.parametrize("block", [7, 1000])
def test_mean_distance_is_over_every_allowed_pair(block, monkeypatch):
    """Against two loops, and against the mean over draws."""
    monkeypatch.setattr(macro, "BLOCK", block)
    clusters, laws = labelled()
    z = np.random.default_rng(1).normal(size=(60, 3))
    for pools, allowed in (
        (None, lambda i, j: i != j),
        (macro.exclusion(clusters), lambda i, j: clusters[i] != clusters[j]),
        (
            macro.exclusion(clusters, laws),
            lambda i, j: clusters[i] != clusters[j] and laws[i] != laws[j],
        ),
    ):
        means = [
            np.mean([np.linalg.norm(z[i] - z[j]) for j in range(60) if allowed(i, j)])
            for i in range(60)
        ]
        assert macro.mean_distance(z, pools) == pytest.approx(np.mean(means), rel=1e-12)
    samples = np.arange(60).repeat(400)
    drawn = macro.draw(pools, samples, np.random.default_rng(2).random(len(samples)))
    distances = np.linalg.norm(z[samples] - z[drawn], axis=1)
    assert distances.mean() == pytest.approx(macro.mean_distance(z, pools), abs=0.03)


def test_uniform_and_in_batch_draws_leave_out_the_sample_itself():
    samples = np.arange(7).repeat(6000)
    u = np.tile((np.arange(6000) + 0.5) / 6000, 7)
    drawn = macro.draw_uniform(samples, u, 7)
    table = np.zeros((7, 7), int)
    np.add.at(table, (samples, drawn), 1)
    assert np.array_equal(table, 1000 * (1 - np.eye(7, dtype=int)))
    for step in range(50):
        other = macro.draw_in_batch(macro.uniforms(0, step, 5))
        assert (other != np.arange(5)).all() and other.max() < 5
    assert macro.draw_in_batch(np.array([0.3, 0.9])).tolist() == [1, 0]


def test_speed_on_the_papers_corpus():
    rng = np.random.default_rng(0)
    pools = macro.exclusion(rng.integers(32, size=11_299), rng.integers(17, size=11_299))
    samples, u = rng.integers(11_299, size=50_000), macro.uniforms(0, 0, 50_000)
    began = time.process_time()  # of this process alone, however busy the machine is
    macro.draw(pools, samples, u)
    assert 50_000 / (time.process_time() - began) > 100_000


def test_what_leaves_no_negatives_is_refused():
    with pytest.raises(UserError, match=r"macro.clusters=1 leaves no other cluster"):
        macro.partition(np.random.default_rng(0).normal(size=(5, 2)), 1)
    with pytest.raises(
        UserError, match=r"macro.clusters=4 is above the 3 distinct prompts \(of 6\)"
    ):
        macro.partition(np.arange(3.0).repeat(2)[:, None], 4)
    with pytest.raises(UserError, match="leaves no negatives for the 4 prompts of cluster 0"):
        macro.exclusion(np.zeros(4, int))
    laws = np.array(["fall", "fall", "melt", "melt"])
    with pytest.raises(UserError, match=r"cluster 0 and law 'fall'.*exclude_same_law=false"):
        macro.exclusion(np.array([0, 0, 0, 1]), np.array(["fall", "fall", "fall", "fall"]))
    assert macro.exclusion(np.array([0, 0, 1, 1]), laws).allowed[:, -1].tolist() == [2, 2]
    with pytest.raises(UserError, match="2 or more"):
        macro.draw_in_batch(np.array([0.5]))
    with pytest.raises(UserError, match=r"data.clips=1"):
        macro.draw_uniform(np.array([0]), np.array([0.5]), 1)


def test_drawing_again_gives_other_draws_of_the_same_distribution():
    u = [macro.uniforms(0, 3, 20_000, again) for again in (0, 1, 2)]
    assert np.array_equal(u[0], macro.uniforms(0, 3, 20_000))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(u[a], u[b])[0, 1]) < 0.03  # 4 standard deviations
    for draws in u:
        assert abs(draws.mean() - 0.5) < 0.01 and abs(draws.var() - 1 / 12) < 0.003
