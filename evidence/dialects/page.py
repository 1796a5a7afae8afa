"""The page: what is measured, idea by idea, and nothing that a measurement does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evidence.dialects.idea import Bug, Idea, Reading, Source
from evidence.dialects.measure import Effect, Subject
from evidence.dialects.settings import SETTINGS
from harness.comparison import MULTIPLE, RUNS

#: An r that is one but for the rounding of its own sums.
_ROUNDING = 16 * float(np.finfo(np.float64).eps)
COMMAND = "python -m evidence.dialects"


def page(ideas: Sequence[Idea], subjects: Mapping[str, Subject], facts: Mapping[str, str]) -> str:
    """The Markdown page of ``ideas``. ``subjects``: by name of the setting; ``facts``: versions by name."""
    blocks = [_head(ideas, subjects, facts), _bugs(ideas)]
    blocks += [_section(idea, subjects) for idea in ideas]
    return "\n\n".join(blocks) + "\n"


def _head(ideas: Sequence[Idea], subjects: Mapping[str, Subject], facts: Mapping[str, str]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in facts.items() if len(value) < 40)
    lines = [
        "# Dialects: one idea, several readings",
        "",
        "Libraries give one name to different things. Each section below is one idea: what is at stake, "
        "how each library reads it and where its source says so, and what the reading does to the "
        "explanation of the same network and input.",
        "",
        f"This page is written by `{COMMAND}` from measurements, not by hand. Everything was run by this "
        f"project's TensorFlow reference in float64, with {versions}.",
        "",
        "Within a section only the idea in question varies. Unless it says otherwise, LRP has Z at all "
        "kernels, batch norms their own rule (the first reading of the first section), and starts from the "
        "logit of the largest class.",
        "",
        "| network | input |",
        "| --- | --- |",
        *(f"| {subject.name} | {subject.what} |" for subject in subjects.values()),
        "",
        "Columns: relative L2 distance from the first reading of the section; Pearson's r with it; the factor that "
        "brings the reading nearest to the first (best scale); the reading's L2 norm over that of the first; the sum "
        "of the attribution; what follows from it. Places that are NaN or infinite are left out and counted. *No "
        f"difference here* means: not further from the first reading than {MULTIPLE:g} times its noise floor, which "
        f"is how far the first reading moves ({RUNS} runs) when weights and input move by one unit in the last "
        "place. A dash is undefined, as Pearson's r of a constant. The name is a name of the catalogue that has the "
        "reading; a reading without one is put together from the same rules.",
        "",
        "## At a glance",
        "",
        "The largest relative L2 distance between an idea's first reading and another. "
        "See also: [plain bugs of the libraries](#plain-bugs-of-the-libraries).",
        "",
        f"| idea | {' | '.join(subjects)} |",
        f"| --- |{' --- |' * len(subjects)}",
        *(
            f"| [{idea.title}](#{anchor(idea.title)}) "
            f"| {' | '.join(largest(idea, subject) for subject in subjects.values())} |"
            for idea in ideas
        ),
    ]
    return "\n".join(lines)


def largest(idea: Idea, subject: Subject) -> str:
    """The largest distance of a reading from the first, in words where it is none; empty where not measured."""
    others = subject.effects.get(idea.name, ())[1:]
    if not others:
        return ""
    if all(effect.same for effect in others):
        return "no difference"
    if any(effect.not_finite for effect in others):
        return "NaN or infinite"
    return figure(max((effect.rel_l2 for effect in others if effect.rel_l2 is not None), default=None))


def anchor(title: str) -> str:
    """The fragment under which a renderer of Markdown finds a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _bugs(ideas: Sequence[Idea]) -> str:
    lines = ["## Plain bugs of the libraries", "", "Reproduced by the dialect:", ""]
    pairs = [(idea, bug) for idea in ideas for bug in idea.bugs]
    lines += [_bug(idea, bug) for idea, bug in pairs if bug.reproduced]
    lines += ["", "Not reproduced:", ""]
    lines += [_bug(idea, bug) for idea, bug in pairs if not bug.reproduced]
    return "\n".join(lines)


def _bug(idea: Idea, bug: Bug) -> str:
    library = f"{bug.sources[0].library} {bug.sources[0].version}"
    places = "; ".join(place(source) for source in bug.sources)
    return f"- **{library}**, [{idea.title}](#{anchor(idea.title)}): {bug.what} ({places})"


def place(source: Source) -> str:
    """Class or function, file and lines; the paper's idea where there is no file."""
    if not source.path:
        return source.name
    first, last = source.lines
    return f"`{source.name}`, `{source.path}:{first}" + (f"-{last}`" if last > first else "`")


def _section(idea: Idea, subjects: Mapping[str, Subject]) -> str:
    lines = [
        f"## {idea.title}",
        "",
        idea.stake,
        "",
        "| reading | formula | library and version | where | name here |",
        "| --- | --- | --- | --- | --- |",
        *(_reading(reading) for reading in idea.readings),
    ]
    for name in idea.settings:
        lines += ["", *_measured(idea, subjects[name])]
    for name, why in idea.unmeasured.items():
        lines += ["", f"**{name}**: not measured: {why}."]
    return "\n".join(lines)


def _reading(reading: Reading) -> str:
    libraries = "<br>".join(f"{source.library} {source.version}" for source in reading.sources)
    places = "<br>".join(place(source) for source in reading.sources)
    name = f"`{reading.how}`" if isinstance(reading.how, str) else "-"
    return f"| {reading.label} | {reading.formula} | {libraries} | {places} | {name} |"


def _measured(idea: Idea, subject: Subject) -> list[str]:
    effects = subject.effects[idea.name]
    reason = subject.absent[idea.name]
    others = effects[1:]
    if all(effect.same for effect in others):
        why = f": {reason}" if reason else ""
        how = "bit for bit the same" if all(effect.identical for effect in others) else "the same to rounding"
        total = figure(effects[0].sum)
        return [f"**{subject.name}**: no difference here{why}. All readings are {how} (sum {total})."]
    lines = [
        f"**{subject.name}** (noise floor of the first reading {figure(effects[0].floor)})",
        "",
        "| reading | relative L2 | Pearson r | best scale | norm | sum | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, (reading, effect) in enumerate(zip(idea.readings, effects, strict=True)):
        lines.append(_row(reading, effect, remark(effect, number == 0, reason)))
    return lines


def _row(reading: Reading, effect: Effect, remark: str) -> str:
    figures = (
        figure(effect.rel_l2),
        correlation(effect.pearson_r),
        *(figure(value) for value in (effect.best_scale, effect.norm, effect.sum)),
    )
    return f"| {reading.label} | {' | '.join(figures)} | {remark} |"


def remark(effect: Effect, first: bool, reason: str) -> str:
    """What the figures of a reading come to, in words. ``reason``: why no difference can be expected."""
    if effect.error:
        return f"cannot be run: {effect.error}"
    parts = []
    if first:
        parts.append("the first reading")
    elif effect.identical:
        parts.append("no difference here, bit for bit" + (f": {reason}" if reason else ""))
    elif effect.same:
        parts.append("no difference here" + (f": {reason}" if reason else ""))
    if effect.not_finite:
        parts.append(f"{effect.not_finite} values are NaN or infinite")
    return "; ".join(parts)


def figure(value: float | None) -> str:
    """Four digits; a dash where undefined."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.4g}"


def correlation(value: float | None) -> str:
    """Pearson's r; near one, by how much it is less, which four digits would hide."""
    if value is None or not value > 0.999:
        return figure(value)
    gap = 1 - value
    return "1" if gap <= _ROUNDING else f"1 - {gap:.1g}"


def settings_of(ideas: Sequence[Idea]) -> tuple[str, ...]:
    """The names of the settings that the ideas are measured on, in the order of SETTINGS."""
    return tuple(name for name in SETTINGS if any(name in idea.settings for idea in ideas))
