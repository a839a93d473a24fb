"""What the zoo's data looks like: photographs, sentences, rendered lines."""

import numpy as np
import pytest

from tests.zoo.packages import MissingPackage

Image = pytest.importorskip("PIL.Image", reason="the zoo's data needs Pillow")

from tests.zoo.photos import load_photos  # noqa: E402
from tests.zoo.sentences import read_sentences, tokenize  # noqa: E402
from tests.zoo.tasks import Material  # noqa: E402
from tests.zoo.text_lines import HEIGHT, WIDTH, find_fonts, render_lines  # noqa: E402


@pytest.fixture(scope="module")
def fonts():
    try:
        return find_fonts()
    except MissingPackage as error:
        pytest.skip(str(error))


def test_a_photograph_is_normalised_with_imagenets_mean_and_deviation(tmp_path):
    Image.new("RGB", (224, 224), (255, 0, 0)).save(tmp_path / "red.png")
    (photo,) = load_photos(tmp_path)
    # (1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0 - 0.406) / 0.225: one rounding each in float32.
    assert photo[:, 5, 7] == pytest.approx([2.2489083, -2.0357143, -1.8044444], rel=1e-6)


def test_the_centre_of_a_wide_photograph_is_kept(tmp_path):
    wide = np.zeros((224, 424, 3), np.uint8)
    wide[:, 100:324] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    photo = load_photos(tmp_path)
    assert photo.shape == (1, 3, 224, 224)
    assert np.ptp(photo[0, 0]) == 0


def test_photographs_come_in_the_order_of_their_names(tmp_path):
    for name, grey in (("b.png", 200), ("a.png", 10)):
        Image.new("RGB", (224, 224), (grey,) * 3).save(tmp_path / name)
    first, second = load_photos(tmp_path)
    assert first.mean() < second.mean()


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no"):
        load_photos(tmp_path)


def test_blank_lines_are_no_sentences(tmp_path):
    (tmp_path / "lines.txt").write_text("one\n\n  two \n", encoding="utf-8")
    assert read_sentences(tmp_path / "lines.txt") == ["one", "two"]


def test_tokens_are_padded_and_masked():
    pytest.importorskip("tokenizers", reason="MiniLM's sentences need tokenizers")
    try:
        columns = tokenize(["A bird.", "word " * 200])
    except MissingPackage as error:
        pytest.skip(str(error))
    assert {name: rows.shape for name, rows in columns.items()} == {
        "input_ids": (2, 128), "attention_mask": (2, 128), "token_type_ids": (2, 128),
    }  # fmt: skip
    assert columns["input_ids"][0, :5].tolist() == [101, 1037, 4743, 1012, 102]  # BERT's vocabulary
    assert columns["attention_mask"].sum(axis=1).tolist() == [5, 128]


def test_the_same_seed_renders_the_same_lines(fonts):
    once, again = (render_lines(4, 7, fonts) for _ in range(2))
    assert [line.text for line in once] == [line.text for line in again]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(once, again, strict=True))


def test_another_seed_renders_other_lines(fonts):
    once, other = (render_lines(8, seed, fonts) for seed in (1, 2))
    assert [line.text for line in once] != [line.text for line in other]


def test_a_line_is_ink_on_paper_and_grey_beyond(fonts):
    for line in render_lines(8, 3, fonts):
        assert line.pixels.shape == (3, HEIGHT, WIDTH)
        assert line.pixels.min() >= -1
        assert line.pixels.max() <= 1
        written = np.flatnonzero(line.pixels.any(axis=(0, 1)))[-1] + 1
        assert not line.pixels[:, :, written:].any()
        assert line.pixels[:, :, :written].std() > 0.1


def test_a_seed_draws_a_share_of_the_samples_with_what_is_true_of_them():
    material = Material({"x": np.arange(10.0)[:, None]}, tuple("0123456789"))
    part = material.drawn(seed=0)
    assert len(part) == 8
    assert part.truth == tuple(str(int(row[0])) for row in part.inputs["x"])
    assert list(part.truth) == sorted(part.truth)
    assert part.truth == material.drawn(seed=0).truth != material.drawn(seed=1).truth
