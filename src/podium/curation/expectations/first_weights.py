"""What the weights that models start from have seen before: suite `leakage`."""

from podium.config.validate import Critical
from podium.curation.expectations.expectation import DatasetFacts, Figures, expectation

_DIGITS = 16  # of a digest


@expectation(
    Critical(),
    suite="leakage",
    sentence="No model starts from weights that were trained on images of val or test",
    why="Own weights of an earlier split remember its training images; where those are tested now, memory is measured.",
    expected="0 images of val and test seen",
    remedy="use the preprocess.split_seed and the images these weights were trained with, or other weights",
)
def first_weights_unseen(facts: DatasetFacts, _: Critical) -> Figures:
    """Images of val and test that weights trained by Podium have seen, or that belong to the group of such an image."""
    images = facts.columns("photo_sha256", "split", "split_group")
    held_out, photographs = images["split"].isin(["val", "test"]), images["photo_sha256"].str[:_DIGITS]
    seen = {
        model: held_out & images["split_group"].isin(images.loc[photographs.isin(digests), "split_group"])
        for model, digests in facts.trained_on.items()
    }
    counts = {model: int(rows.sum()) for model, rows in seen.items()}
    some = held_out & False
    for rows in seen.values():
        some |= rows
    told = ", ".join(f"{count} by the weights of {model}" for model, count in counts.items() if count)
    return Figures(
        values={f"images seen by the weights of {model}": count for model, count in counts.items()} or {"images": 0},
        most=0,
        observed=told or f"0 seen by the own weights of {len(counts)} models",
        images=facts.paths(some),
    )
