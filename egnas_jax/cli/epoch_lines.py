"""Writes an epoch's record as one line, for searches and for retrainings."""

from collections.abc import Callable


def search_line(record: dict, epochs: int) -> str:
    """Returns the record of a search's epoch as a line.

    Args:
      record: of the epoch.
      epochs: of the whole search.
    """
    parts = [
        f"{part} {record[f'{part}_loss']:.3f} {100 * record[f'{part}_accuracy']:5.1f} %"
        for part in ("train", "valid")
        if record[f"{part}_loss"] is not None  # a search without weight steps
    ]
    stage = f"stage {record['stage'] + 1}  " if "stage" in record else ""
    return (
        f"epoch {record['epoch'] + 1:>3}/{epochs}  {stage}{'  '.join(parts)}  "
        f"{record['seconds']:.1f} s"
    )


def retrain_line(record: dict, epochs: int) -> str:
    """Returns the record of a retraining's epoch as a line.

    Args:
      record: of the epoch.
      epochs: of the whole retraining.
    """
    error = record["test_error"]
    tested = "" if error is None else f"  test error {100 * error:.2f} %"
    return (
        f"epoch {record['epoch'] + 1:>3}/{epochs}  train {record['train_loss']:.3f} "
        f"{100 * record['train_accuracy']:5.1f} %{tested}  {record['seconds']:.1f} s"
    )


def line_of(record: dict) -> Callable[[dict, int], str]:
    """Returns the function of the two that suits a record."""
    return retrain_line if "test_error" in record else search_line
