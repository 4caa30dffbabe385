"""The results' interface: every score in one long frame."""

from sweeps import results


def test_the_results_are_one_long_frame(finished):
    frame = results.load("tiny", finished[0])
    assert list(frame.columns) == ["cell", "seed", "prompt", "metric", "value"]
    assert len(frame) == 8 * 4 * 10  # cells, prompts, metrics
    assert set(frame.seed) == {0, 1} and frame.value.between(0, 10).all()
