"""Pictures of a run: each step once, whatever was there."""

from PIL import Image

from podium.tracking import store as stores
from podium.tracking.run_writer import RunWriter


def test_pictures_are_logged_once_a_step_and_what_a_kill_left_out_is_added(store):
    client = stores.open_client(store)
    writer = RunWriter(client, store, "sample")
    run_id = writer.create("r", {}, "stages/train.py")
    drawn = []

    def draw(step):
        drawn.append(step)
        return Image.new("RGB", (8, 8))

    for steps in ((3, 7), (3, 7), (3, 5, 7)):
        writer.log_pictures(run_id, "mistakes", {step: lambda step=step: draw(step) for step in steps})
    assert drawn == [3, 7, 5]
    names = [file.path for file in client.list_artifacts(run_id, "images") if file.path.endswith(".png")]
    assert sorted(name.split("+")[2] for name in names) == ["3", "5", "7"]
