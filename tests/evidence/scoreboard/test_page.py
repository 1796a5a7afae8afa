"""The page of the scoreboard."""

from __future__ import annotations

from evidence.scoreboard.page import page

NAMED = {"cause": "output-seed", "stage": "head", "layers": ["logits"], "residual": 0.0, "words": ""}


def facts(state, causes=(), left=None, apart=None, note=""):
    return {"state": state, "causes": list(causes), "left": left, "apart": apart, "note": note}


def figures(**cells):
    row = {"says": "Saliency(model).attribute(x, target, abs=False)", **cells}
    return {
        "captum": {
            "requirement": "captum==0.9.0",
            "pins": ["captum==0.9.0"],
            "versions": {"torch": "2.13.0"},
            "rows": {"gradient": row},
        }
    }


def cells(text):
    (line,) = [line for line in text.splitlines() if line.startswith("| `gradient` | Saliency")]
    return [cell.strip() for cell in line.split("|")][3:-1]


def test_a_cell_says_the_state_the_causes_what_is_left_and_why():
    shown = page(
        figures(
            **{
                "digits-cnn": facts("agree"),
                "ecg-cnn1d": facts("one", [NAMED, NAMED], left=3e-16),
                "fer-xception": facts("unknown", [NAMED, {**NAMED, "cause": "unknown"}], apart=0.25),
                "efficientnet-lite0": facts("none", note="it takes square images"),
                "vgg16-mri": facts("fail", note="KeyError: 'cpu'"),
            }
        )
    )
    assert cells(shown) == [
        "agree",
        "one: `output-seed`, left 3.0e-16",
        "differ: `output-seed`, `unknown`, 2.5e-01 apart",
        "does not apply (1)",
        "fail (2)",
    ]
    assert "1. it takes square images" in shown and "2. KeyError: 'cpu'" in shown
    assert "| captum==0.9.0 | 1 | 1 | 0 | 1 | 1 | 0 | 1 | " in shown
    assert "`xai-harness diagnose MODEL METHOD --candidate captum`" in shown


def test_what_closes_the_gap_and_has_no_name_is_said_in_words():
    words = "the path is summed up by riemann_trapezoid instead of mean"
    joined = {**NAMED, "cause": "unknown", "stage": "postprocess", "residual": 1e-16, "words": words}
    shown = page(
        figures(
            **{
                "digits-cnn": {**facts("one", [joined], left=1e-16), "complete": True},
                "ecg-cnn1d": {**facts("unknown", [joined], left=0.1), "complete": False},
            }
        )
    )
    assert cells(shown)[:2] == [f"one: {words}, left 1.0e-16", "differ: `unknown`, left 1.0e-01"]


def test_a_library_that_cannot_be_hosted_says_why():
    shown = page({"captum": {"refused": "captum is not installed", "rows": {}}})
    assert "Cannot be hosted: captum is not installed" in shown
