"""Rows that are unlike those that a model was trained on: what is measured of them tells little."""

import logging

log = logging.getLogger(__name__)

MOSTLY = 0.5  # of the cells: more of them changed by cleaning are warned about


def warn_of_unlike_data(imputed: float, capped: float, where: object) -> bool:
    """Warn where most cells of a dataset are missing or beyond the caps; return whether they are.

    Parameters
    ----------
    imputed, capped : float
        Shares of its cells.
    where : object
        The dataset.
    """
    unlike = imputed + capped > MOSTLY
    if unlike:
        log.warning(
            "%s: %.0f %% of the cells are missing and %.0f %% beyond the caps of the model's train "
            "rows: tokens tell little of it; was this dataset made, or are its units, as theirs?",
            *(where, 100 * imputed, 100 * capped),
        )
    return unlike
