"""The validation page: complete, self-contained, safe and the same bytes for the same data."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.core.errors import DataError
from podium.curation.dataset_profile import describe
from podium.curation.findings import flag_images, probe_shortcuts
from podium.curation.label_noise import find_label_noise
from podium.curation.linear_probe import draw_images
from podium.records.profile import Profile
from podium.records.validate import ExpectationResult, MeasureDrift, NaiveSplitLeak, ValidationReport
from podium.report.validation_page import Findings, Thumbnails, render_validation
from tests.shapes import Shapes, shape_pictures, write_shapes

NAMES = {"cross": "<script>alert(1)</script>", "disc": "사과", "ring": "citrón", "square": "🍈"}
REJECTED = pd.DataFrame(
    [
        ("a b/broken\n.jpg", "사과", "unreadable: truncated", "unreadable", "1" * 16),
        ("tiny.jpg", "citrón", "box of 3 x 2 pixels", "too_small", "2" * 16),
        ("<img src=x onerror=alert(1)>.txt", "", "not an image", "skipped", ""),
    ],
    columns=["path", "label", "reason", "kind", "image_id"],
)


class Parsed(HTMLParser):
    """Tags, addresses and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    pictures, labels = shape_pictures(12)
    labels = [NAMES[label] for label in labels]
    labels[0] = NAMES["ring"]
    sizes = [(48, 48 + number) for number in range(len(labels))]
    made = write_shapes(tmp_path_factory.mktemp("shapes"), pictures, labels, sizes=sizes)
    ids = made.manifest["image_id"]
    extra = {"duplicate_group": ids, "duplicate_kind": "", "note": "", "licence": "CC0-1.0", "source_split": ""}
    manifest = made.manifest.assign(**extra)
    manifest.loc[1, ["duplicate_group", "split_group"]] = ids[0]
    manifest.loc[1, "duplicate_kind"] = "near"
    manifest.loc[[0, 1], "split"] = "train"
    return replace(made, manifest=manifest)


@pytest.fixture(scope="module")
def profile(shapes: Shapes) -> Profile:
    return describe(shapes.manifest, shapes.measures, shapes.manifest["split"], REJECTED)


@pytest.fixture(scope="module")
def findings(shapes: Shapes) -> Findings:
    drawn = draw_images(shapes.splits, shapes.manifest, shapes.measures)
    limits = {"dark": 0.5, "blurred": 15.0, "uniform": 0.015, "aspect": 1.5}
    return Findings(
        manifest=shapes.manifest,
        splits=shapes.splits,
        label_noise=find_label_noise(drawn),
        shortcuts=probe_shortcuts(drawn),
        quality=tuple(flag_images(shapes.measures, shapes.manifest, **limits)),
    )


def result(id: str, success: bool = True, **fields: object) -> ExpectationResult:
    given = {"suite": "sizes", "severity": "critical", "sentence": f"Sentence of {id}", "expected": "at least 64"}
    given |= {"observed": "smallest: 48", "offending": [], "offending_count": 0}
    return ExpectationResult.model_validate({"id": id, "success": success} | given | fields)


def report(*results: ExpectationResult, passed: bool = True) -> ValidationReport:
    drift = [
        MeasureDrift(measure="brightness", distance=0.31, p_value=0.0001, threshold=0.1, drifts=True),
        MeasureDrift(measure="lbp_3", distance=0.02, p_value=1.0, threshold=0.1, drifts=False),
    ]
    leak = NaiveSplitLeak(groups=1, test_images=8, test_images_with_twin=2, share=0.25)
    return ValidationReport(
        passed=passed,
        manifest_sha256="a" * 64,
        images=48,
        rejected=1,
        naive_split=leak,
        drift=drift,
        results=list(results),
    )


def test_the_page_needs_nothing_else_and_runs_nothing(profile: Profile, findings: Findings) -> None:
    page = Parsed(render_validation(report(result("columns")), profile, REJECTED, findings))

    assert "script" not in page.tags and "link" not in page.tags
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    anchors = {address[1:] for address in page.addresses if address.startswith("#")}
    assert anchors == set(re.findall(r'<h2 id="([^"]+)"', render_validation(report(), profile, REJECTED, findings)))


def test_names_of_any_script_and_of_any_malice_are_shown_as_they_are(profile: Profile, findings: Findings) -> None:
    page = Parsed(render_validation(report(result("columns")), profile, REJECTED, findings))

    for shown in (
        "<script>alert(1)</script>",
        "사과 (sagwa)",
        "citrón",
        "🍈 (:melon:)",
        "<img src=x onerror=alert(1)>.txt",
    ):
        assert shown in page.text
    assert page.tags.count("img") == sum(a.startswith("data:") for a in page.addresses)


def test_the_verdict_comes_first_and_what_fails_before_what_holds(profile: Profile, findings: Findings) -> None:
    failing = report(
        result("holds"),
        result("small", False, severity="warning", offending=["a.png"], offending_count=30, why="Small is blurred."),
        result("leak", False, severity="warning", relaxed=True, because="known and accepted"),
        result("columns", False, why="Later stages need them.", checked=False),
        passed=False,
    )
    text = Parsed(render_validation(failing, profile, REJECTED, findings)).text

    assert "The data failed validation" in text and "Training does not start" in text
    assert text.index("Sentence of columns") < text.index("Sentence of leak") < text.index("Sentence of small")
    assert text.index("Sentence of small") < text.index("Sentence of holds")
    assert "not checked" in text and "30 images, the first 1" in text and "a.png" in text
    assert "Critical by default, a warning here , because: known and accepted".replace(" ,", ",") in text
    assert "The data passed validation" in Parsed(render_validation(report(), profile, REJECTED)).text


def test_duplicates_rejected_files_and_the_leak_are_named(profile: Profile, findings: Findings) -> None:
    text = Parsed(render_validation(report(), profile, REJECTED, findings)).text

    for member in profile.duplicates[0].members:
        assert member.path in text
    assert "2 of 8 test images (25.0%)" in text
    assert "a b/broken .jpg" in text and "unreadable: truncated" in text
    assert text.index("could not be read: 1") < text.index("too small: 1") < text.index("no images to use: 1")
    assert "CC0-1.0" in text


def test_probes_and_candidates_are_told_with_their_figures(profile: Profile, findings: Findings) -> None:
    text = Parsed(render_validation(report(), profile, REJECTED, findings)).text

    assert "1 measure differs between train and test" in text and "below 0.001" in text
    probe = findings.shortcuts.label_from_border
    assert f"{probe.balanced_accuracy:.1%}" in text and f"{probe.chance:.1%}" in text
    assert "not run: there is one source" in text
    assert all(candidate.path in text for candidate in findings.label_noise.candidates)
    assert all(one.path in text for one in profile.unusual)


def test_the_same_data_gives_the_same_bytes_whatever_matplotlib_was_told(
    profile: Profile, findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = render_validation(report(), profile, REJECTED, findings)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)

    assert render_validation(report(), profile, REJECTED, findings) == first
    assert matplotlib.rcParams["font.size"] == 30.0
    for picture in re.findall(r"data:image/png;base64,([^\"]+)", first):
        assert not Image.open(io.BytesIO(base64.b64decode(picture))).info.keys() - {"dpi"}


def test_without_findings_the_page_still_tells_what_the_manifest_holds(profile: Profile) -> None:
    page = Parsed(render_validation(report(result("columns", False, checked=False), passed=False), profile, REJECTED))

    assert "img" not in page.tags
    assert "Sentence of columns" in page.text and "Medians by class" in page.text


def test_pictures_are_small_and_those_of_test_are_refused(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (10, 200, 200, 3), dtype=np.uint8)
    shapes = write_shapes(tmp_path, pictures, ["a", "b"] * 5)
    thumbnails = Thumbnails(shapes.splits)

    uri = thumbnails.uri(shapes.manifest.loc[0, "image_id"])

    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (96, 96)
    assert thumbnails.uri("f" * 16) == ""
    with pytest.raises(DataError, match="test split are not shown"):
        Thumbnails((replace(shapes.splits[0], name="test"),))
