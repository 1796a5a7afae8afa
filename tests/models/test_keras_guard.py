"""What is compared of a Keras file before Keras opens it: what it holds, and what its configuration asks for."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.errors import ModelSourceError
from ported_models.sources import keras_guard
from tests.models.hostile_files import harmless, hostile

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("kind", ["keras", pytest.param("h5", marks=pytest.mark.nightly)])
def test_an_array_of_more_numbers_than_all_weights_is_refused_before_keras_reads_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    import harness

    monkeypatch.setattr(keras.saving, "load_model", lambda *given, **options: pytest.fail("Keras reads it"))
    path = tmp_path / f"bomb.{kind}"
    dict(hostile(harmless(tmp_path)))[f"hdf5-bomb.{kind}"](path, tmp_path / "none")
    # 3 filters of 3 by 3 taps and 2 channels, with biases: 57; a batch norm of 3 channels: 12; 48 to 4 features: 196.
    words = r"holds 67108864 numbers, and its configuration asks for 265 weights in all"
    with pytest.raises(ModelSourceError, match=words):
        harness.load_model(path)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_what_an_optimizer_keeps_beside_the_weights_is_no_more_than_they_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setattr(keras_guard, "_MORE", 0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 3)), np.zeros((2, 1)), verbose=0)
    path = tmp_path / f"trained.{kind}"
    model.save(path)
    keras_guard.check_file(path)


def test_of_a_configuration_that_keras_cannot_make_nothing_is_concluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_guard, "_MORE", 0)
    path = tmp_path / "model.h5"
    path.write_bytes(harmless(tmp_path)["h5"])
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"Conv2D"', '"Unheard"')
    keras_guard.check_file(path)
