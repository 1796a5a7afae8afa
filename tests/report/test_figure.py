"""The picture: what colour a value has, and that it has it in every panel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import InvalidInputError
from harness.report import heatmap_figure

RED, BLUE, GRAY = (255, 0, 0), (0, 0, 255), (128, 128, 128)
IMAGE = ("batch", "height", "width", "channel")


def panels(path: Path) -> list[np.ndarray]:
    """The inside of the three frames of a written PNG, left to right, as (rows, columns, 3) bytes.

    A frame is found by its two long black vertical lines: columns that are black over a third of the
    picture's height. The colorbar is not among the first six of them.
    """
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    black = (pixels < 60).all(axis=2)
    columns = np.flatnonzero(black.sum(axis=0) > pixels.shape[0] / 3)
    lines = [group[0] for group in np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)][:6]
    inside = []
    for left, right in zip(lines[::2], lines[1::2], strict=True):
        rows = np.flatnonzero(black[:, left])
        inside.append(pixels[rows[0] + 3 : rows[-1] - 2, left + 3 : right - 2])
    return inside


def cell(panel: np.ndarray, row: int, column: int, rows: int, columns: int) -> tuple[int, ...]:
    """The colour in the middle of a cell of a panel that shows (rows, columns) cells."""
    height, width, _ = panel.shape
    colour = panel[int((row + 0.5) * height / rows), int((column + 0.5) * width / columns)]
    return tuple(int(part) for part in colour)


def image(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)[None, :, :, None]


def test_positive_is_red_negative_is_blue_zero_is_white(tmp_path):
    relevance = image([1.0, 0.0], [0.0, -1.0])
    heatmap_figure(relevance, relevance, tmp_path / "case.png", title="case", axes=IMAGE)
    for panel in panels(tmp_path / "case.png")[:2]:
        assert cell(panel, 0, 0, 2, 2) == RED
        assert cell(panel, 1, 1, 2, 2) == BLUE
        assert cell(panel, 0, 1, 2, 2) == cell(panel, 1, 0, 2, 2) == (255, 255, 255)


def test_equal_attributions_leave_the_difference_white(tmp_path):
    relevance = image([1.0, 0.5], [-0.5, -1.0])
    heatmap_figure(relevance, relevance, tmp_path / "case.png", title="case", axes=IMAGE)
    assert (panels(tmp_path / "case.png")[2] == 255).all()


def test_one_value_has_one_colour_in_all_three_panels(tmp_path):
    # Left cell: reference 1, candidate 2, so difference 1. Right cell: 2, 1 and -1. The scale ends at 2.
    heatmap_figure(image([1.0, 2.0]), image([2.0, 1.0]), tmp_path / "case.png", title="case", axes=IMAGE)
    reference, candidate, difference = panels(tmp_path / "case.png")
    one = cell(reference, 0, 0, 1, 2)
    assert one == cell(candidate, 0, 1, 1, 2) == cell(difference, 0, 0, 1, 2)
    assert one[0] == 255 and one[1] == one[2] == pytest.approx(127.5, abs=1)
    assert cell(reference, 0, 1, 1, 2) == cell(candidate, 0, 0, 1, 2) == RED
    assert cell(difference, 0, 1, 1, 2) == (one[2], one[1], 255)


def test_the_scale_covers_a_difference_larger_than_either_side(tmp_path):
    # The signs are opposite: the difference is -2, twice what either side shows, and is the full blue.
    heatmap_figure(image([1.0, 0.0]), image([-1.0, 0.0]), tmp_path / "case.png", title="case", axes=IMAGE)
    reference, _, difference = panels(tmp_path / "case.png")
    assert cell(difference, 0, 0, 1, 2) == BLUE
    assert cell(reference, 0, 0, 1, 2)[1] == pytest.approx(127.5, abs=1)


def test_channels_of_an_image_are_summed(tmp_path):
    # Left: 3 - 1 = 2, the largest sum, red. Right: 1 - 1 = 0, white.
    relevance = np.array([[[[3.0, -1.0], [1.0, -1.0]]]])
    heatmap_figure(relevance, relevance, tmp_path / "case.png", title="case", axes=IMAGE)
    reference = panels(tmp_path / "case.png")[0]
    assert cell(reference, 0, 0, 1, 2) == RED
    assert cell(reference, 0, 1, 1, 2) == (255, 255, 255)


def test_a_series_has_a_row_for_each_lead_and_time_to_the_right(tmp_path):
    series = np.zeros((1, 4, 2))
    series[0, 3, 1] = 1.0
    heatmap_figure(series, series, tmp_path / "case.png", title="case", axes=("batch", "time", "channel"))
    reference = panels(tmp_path / "case.png")[0]
    assert cell(reference, 1, 3, 2, 4) == RED
    assert cell(reference, 0, 3, 2, 4) == cell(reference, 1, 0, 2, 4) == (255, 255, 255)


def test_a_vector_is_drawn_as_bars_on_one_axis(tmp_path):
    # The axis ends at 1.05 * 2; the reference's bar of 1 must end half as high as the candidate's of 2.
    heatmap_figure(
        np.array([[1.0, -1.0]]),
        np.array([[2.0, -1.0]]),
        tmp_path / "case.png",
        title="case",
        axes=("batch", "feature"),
    )
    reference, candidate, _ = panels(tmp_path / "case.png")
    lower, higher = ((panel == RED).all(axis=2).any(axis=1).sum() for panel in (reference, candidate))
    assert higher == pytest.approx(2 * lower, abs=2)
    assert (reference == BLUE).all(axis=2).any()


def test_what_is_not_finite_is_gray_in_its_panel_and_in_the_difference(tmp_path):
    heatmap_figure(image([1.0, 0.0]), image([np.nan, 0.0]), tmp_path / "case.png", title="case", axes=IMAGE)
    reference, candidate, difference = panels(tmp_path / "case.png")
    assert cell(reference, 0, 0, 1, 2) == RED
    assert cell(candidate, 0, 0, 1, 2) == cell(difference, 0, 0, 1, 2) == GRAY


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
@pytest.mark.parametrize(
    "shape, axes",
    [((1, 3, 3, 1), IMAGE), ((1, 5, 2), ("batch", "time", "channel")), ((1, 4), ("batch", "feature"))],
)
def test_an_attribution_without_a_scale_still_has_a_picture(tmp_path, value, shape, axes):
    relevance = np.full(shape, value)
    heatmap_figure(relevance, relevance, tmp_path / "case.png", title="case", axes=axes)
    expected = (255, 255, 255) if value == 0 else GRAY
    reference = panels(tmp_path / "case.png")[0]
    assert tuple(reference[reference.shape[0] // 4, reference.shape[1] // 2]) == expected


def test_another_sample_of_the_batch_can_be_drawn(tmp_path):
    batch = np.concatenate([image([1.0, 0.0]), image([0.0, 1.0])])
    heatmap_figure(batch, batch, tmp_path / "case.png", title="case", axes=IMAGE, sample=1)
    assert cell(panels(tmp_path / "case.png")[0], 0, 1, 1, 2) == RED


@pytest.mark.parametrize(
    "reference, candidate, axes, sample, message",
    [
        (image([1.0]), image([1.0, 2.0]), IMAGE, 0, "different shapes"),
        (image([1.0]), image([1.0]), ("batch", "feature"), 0, "does not fit the axes"),
        (image([1.0]), image([1.0]), ("height", "width", "channel", "batch"), 0, "'batch' first"),
        (image([1.0]), image([1.0]), IMAGE, 1, "sample 1 is outside the batch of 1"),
        (np.ones(1), np.ones(1), ("batch",), 0, "have no picture"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence_and_no_file(
    tmp_path, reference, candidate, axes, sample, message
):
    with pytest.raises(InvalidInputError, match=message) as raised:
        heatmap_figure(reference, candidate, tmp_path / "case.png", title="case", axes=axes, sample=sample)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_older_picture(tmp_path, monkeypatch):
    path = tmp_path / "case.png"
    path.write_bytes(b"older")

    def full_disk(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        heatmap_figure(image([1.0]), image([1.0]), path, title="case", axes=IMAGE)
    assert [file.name for file in tmp_path.iterdir()] == ["case.png"]
    assert path.read_bytes() == b"older"


def test_a_picture_holds_nothing_of_the_one_before(tmp_path):
    """Axes and labels are drawn once for pictures of one shape; everything else is that of the picture itself."""
    first, second = image([1.0, 0.0], [np.nan, -1.0]), image([0.0, 3e5], [1.0, -2e5])
    heatmap_figure(second, 0.9 * second, tmp_path / "alone.png", title="another", axes=IMAGE)
    heatmap_figure(first, first, tmp_path / "first.png", title="a title of its own, and longer", axes=IMAGE)
    heatmap_figure(second, 0.9 * second, tmp_path / "after.png", title="another", axes=IMAGE)
    alone, after = (Image.open(tmp_path / name).tobytes() for name in ("alone.png", "after.png"))
    assert alone == after
    assert Image.open(tmp_path / "first.png").tobytes() != after
