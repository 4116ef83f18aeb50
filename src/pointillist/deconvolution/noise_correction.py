"""Noise correction: the part of the noise in the cell types' means that a regression takes off its Gram matrix.

Means of few cells are noisy, and noise adds to the diagonal of the Gram matrix, which draws the coefficients of such
types towards zero. All of it taken off would leave no bias and the least stable estimate; 0.5 lies between.

References
----------
Fuller (1987), Measurement Error Models.
"""

OPTION = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "default": 0.5,
    "description": "part of the noise of the cell types' means taken off: helps types with few cells",
}


def check_noise_correction(value):
    """Refuse what is no share.

    Raises
    ------
    ValueError
    """
    if not OPTION["minimum"] <= value <= OPTION["maximum"]:
        raise ValueError(f"noise_correction is {value}, expected a number from 0 to 1")
