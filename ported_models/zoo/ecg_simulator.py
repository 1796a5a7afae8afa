"""Simulated 12-lead ECGs: a moving heart dipole, seen by twelve leads, for five rhythms.

Each wave of a beat (P, Q, R, S, T, and where it applies an ST plateau) is a Gaussian in time, as in
McSharry et al. 2003 ("A dynamical model for generating synthetic electrocardiogram signals", IEEE
Trans. Biomed. Eng. 50(3), eq. 1), but along a direction in space, as in Sameni et al. 2007
("Multichannel ECG and noise modeling", EURASIP J. Adv. Signal Process., eq. 3): the dipole is

    d(t) = sum over beats and waves of  direction * exp(-((t - onset - centre) / width)^2 / 2)   [mV]

The leads are a fixed linear map of it (Dower's transform; Dower, Machado, Osborne 1980, Clin. Cardiol. 3).
Teaching material: plausible morphology to train a small network on, not a model of any patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CLASSES = (
    "normal",
    "atrial fibrillation",
    "left bundle branch block",
    "anterior ST elevation",
    "premature ventricular beats",
)
RATE = 100  # samples per second
SAMPLES = 250

#: Lead vectors of I, II, V1 to V6 on the axes x (to the left), y (to the feet), z (to the back).
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)


@dataclass(frozen=True)
class Wave:
    """One Gaussian: ``centre`` and ``width`` in seconds from the R peak, ``direction`` in mV on (x, y, z)."""

    centre: float
    width: float
    direction: tuple[float, float, float]


_P = Wave(-0.17, 0.022, (0.08, 0.12, -0.03))
_Q = Wave(-0.030, 0.010, (-0.12, -0.02, -0.18))
_R = Wave(0.0, 0.012, (0.95, 0.75, 0.25))
_S = Wave(0.030, 0.012, (-0.20, -0.10, 0.45))
_T = Wave(0.27, 0.045, (0.25, 0.20, -0.12))
_NORMAL = (_P, _Q, _R, _S, _T)
_FIBRILLATING = _NORMAL[1:]
#: Late, slow activation towards the left and back; the T wave points the other way.
_BLOCK = (
    _P,
    Wave(0.0, 0.030, (0.75, 0.35, 0.55)),
    Wave(0.060, 0.028, (0.80, 0.25, 0.65)),
    Wave(0.30, 0.055, (-0.30, -0.10, -0.30)),
)
_INJURED = (*_NORMAL, Wave(0.13, 0.050, (0.10, -0.05, -0.22)), Wave(0.24, 0.050, (0.08, 0.0, -0.15)))
#: From the ventricle's wall: no P wave, wide, and with an opposed T wave.
_PREMATURE = (
    Wave(0.0, 0.035, (-0.65, 1.10, -0.55)),
    Wave(0.075, 0.035, (-0.30, -0.35, 0.40)),
    Wave(0.31, 0.060, (0.30, -0.45, 0.25)),
)
_BEATS = (_NORMAL, _FIBRILLATING, _BLOCK, _INJURED, _NORMAL)


def simulate(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``count`` recordings and their classes, drawn from ``generator``.

    Returns float32 (count, SAMPLES, 12) in mV with the leads in the order of `LEADS`, and int64 (count,)
    indices into `CLASSES`, each class equally likely.
    """
    labels = generator.integers(len(CLASSES), size=count)
    return np.stack([_recording(int(label), generator) for label in labels]).astype(np.float32), labels


def _recording(label: int, generator: np.random.Generator) -> np.ndarray:
    """One recording of class ``label``, (SAMPLES, 12) in mV."""
    time = np.arange(SAMPLES) / RATE
    dipole = np.zeros((SAMPLES, 3))
    patient = generator.normal(1.0, 0.3, size=(8, 3)).clip(0.2)  # one factor per wave and axis
    patient[len(_NORMAL) :] *= generator.uniform(0.1, 1.0)  # from hardly any to full ST elevation
    stretch = generator.normal(1.0, 0.08)
    for onset, waves in _beats(label, generator):
        for number, wave in enumerate(waves):
            offset = (time - onset - wave.centre * stretch) / (wave.width * stretch)
            dipole += np.exp(-0.5 * offset[:, None] ** 2) * wave.direction * patient[number]
    dipole += _fibrillation(time, generator) if label == 1 else 0.0
    leads = _leads(dipole @ _rotation(generator).T)
    return leads + _noise(time, generator)


def _beats(label: int, generator: np.random.Generator) -> list[tuple[float, tuple[Wave, ...]]]:
    """R peaks in seconds, and the waves of each beat, from before the window until after it."""
    period = 60.0 / generator.uniform(60.0, 110.0)
    irregularity = generator.uniform(0.08, 0.25) if label == 1 else 0.03
    onset = -generator.uniform(0.0, period)
    beats: list[tuple[float, tuple[Wave, ...]]] = []
    while onset < SAMPLES / RATE + 0.5:
        beats.append((onset, _BEATS[label]))
        onset += period * max(0.45, generator.normal(1.0, irregularity))
    if label == 4:
        # One beat that is wholly inside the window comes early and from elsewhere.
        inside = [n for n, (peak, _) in enumerate(beats) if 0.45 < peak < SAMPLES / RATE - 0.35]
        early = int(generator.choice(inside))
        beats[early] = (beats[early][0] - generator.uniform(0.15, 0.35) * period, _PREMATURE)
    return beats


def _fibrillation(time: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The atria's fine irregular waves, 4 to 9 Hz, (samples, 3) in mV."""
    frequencies = generator.uniform(4.0, 9.0, size=3)
    phases = generator.uniform(0.0, 2 * np.pi, size=3)
    waves = np.sin(2 * np.pi * time[:, None] * frequencies + phases)
    return waves.sum(axis=1, keepdims=True) * generator.normal(0.0, 0.025, size=3)


def _rotation(generator: np.random.Generator) -> np.ndarray:
    """How this heart lies in its chest: small random turns about the three axes, (3, 3)."""
    turn = np.eye(3)
    for axis, angle in enumerate(generator.normal(0.0, np.deg2rad(12.0), size=3)):
        first, second = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn


def _leads(dipole: np.ndarray) -> np.ndarray:
    """The twelve leads of a dipole (samples, 3); III, aVR, aVL and aVF follow from I and II (Einthoven)."""
    one, two, *chest = (dipole @ _DOWER.T).T
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.stack([*limbs, *chest], axis=-1)


def _noise(time: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Breathing, mains hum and muscle noise, (samples, 12) in mV."""
    breathing = np.sin(2 * np.pi * (generator.uniform(0.15, 0.4) * time + generator.uniform()))
    hum = np.sin(2 * np.pi * (49.0 * time + generator.uniform()))
    noise = breathing[:, None] * generator.normal(0.0, 0.10, size=12)
    noise += hum[:, None] * generator.normal(0.0, 0.02, size=12)
    return noise + generator.normal(0.0, generator.uniform(0.02, 0.08), size=(SAMPLES, 12))
