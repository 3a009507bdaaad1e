"""Draws an evaluation: confusion matrix and reliability diagram.

Source: reliability diagram as Guo et al. (ICML 2017).

Dims: K classes.
"""

import numpy as np

from egnas_jax.plotting import BLUE, GREY, ORANGE, as_svg

NAMED = 20  # the most classes whose names and counts fit beside each other


def draw_evaluation(evaluation: dict) -> str:
    """Confusion matrix and reliability diagram side by side, as SVG.

    Args:
      evaluation: from `studies.test_error.evaluate_network`.
    """
    from matplotlib.figure import Figure  # needs no window system, no global state

    side = 4.8 if len(evaluation["confusion"]) <= NAMED else 6.0  # inches
    figure = Figure((side + 5.6, side + 0.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(side, 4.6))
    _confusion(figure, left, evaluation)
    _reliability(right, evaluation)
    figure.legend(loc="outside lower right", ncols=4, fontsize=8)
    figure.suptitle(
        f"{evaluation['data']['name']}: test error "
        f"{100 * evaluation['test_error']:.2f} % of {evaluation['n']:,} images, top-5 "
        f"accuracy {100 * evaluation['test_accuracy_top5']:.2f} %"
    )
    return as_svg(figure)


def _confusion(figure, axis, evaluation):
    """Fraction of each class (rows) by predicted class."""
    counts = np.asarray(evaluation["confusion"])
    num_classes = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, label="fraction of the class", shrink=0.8)
    axis.set_title("Confusion matrix")
    axis.set_xlabel("predicted class")
    axis.set_ylabel("class")
    if num_classes > NAMED:  # matplotlib's ticks number the classes
        return
    names = evaluation["class_names"] or range(num_classes)
    axis.set_xticks(range(num_classes), names, rotation=90)
    axis.set_yticks(range(num_classes), names)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "black" if shares[row, column] > 0.5 else "white"
            axis.text(
                column, row, count, ha="center", va="center", color=ink, fontsize=7
            )


def _reliability(axis, evaluation):
    """Accuracy of each bin of confidence beside the diagonal, and the bins' sizes."""
    bins = {name: np.asarray(part) for name, part in evaluation["calibration"].items()}
    count, width = bins["count"], 1 / bins["bins"]
    centres = (np.arange(bins["bins"]) + 0.5) * width
    filled = count > 0
    accuracy, confidence = bins["accuracy"][filled], bins["confidence"][filled]
    axis.bar(
        centres[filled],
        accuracy,
        width,
        color=BLUE,
        edgecolor="white",
        label="accuracy",
    )
    axis.bar(
        centres[filled],
        confidence - accuracy,
        width,
        accuracy,
        facecolor="none",
        edgecolor=ORANGE,
        hatch="///",
        label="gap to the mean confidence",
    )
    axis.plot([0, 1], [0, 1], "--", color=GREY, label="perfectly calibrated")
    axis.step(
        np.linspace(0, 1, bins["bins"] + 1),
        np.append(count, count[-1]) / count.sum(),
        where="post",
        color="black",
        label="fraction of the images",
    )
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="fraction")
    axis.set_aspect("equal")
    axis.set_title(f"Reliability: ECE {evaluation['ece']:.4f}, {bins['bins']} bins")
