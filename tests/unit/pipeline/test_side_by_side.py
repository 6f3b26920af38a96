"""What asks a trained model, and what trains on parts of the images, writes the same from one process and from two."""

from podium.config.runtime import LOCAL, Resources
from tests.judged_model import judge, trained_project


def test_evaluate_explain_and_learning_curve_write_the_same_bytes_side_by_side(tmp_path):
    layout = trained_project(tmp_path)
    assert judge(layout, Resources(trials_at_once=2)) == judge(layout, LOCAL)
