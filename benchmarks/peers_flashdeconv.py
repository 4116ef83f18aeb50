"""flashdeconv on the input's cells, or on a signature where one is given; its defaults otherwise."""

import numpy as np
from peers_io import now, read_input, type_means, write_result


def main():
    from flashdeconv import FlashDeconv

    given, options = read_input()
    X, places = given["X"], given["coordinates"]
    if places is None:
        # Without places no spot has a neighbour, and its spatial term is off.
        places = np.column_stack([np.arange(X.shape[0]) * 1.0, np.zeros(X.shape[0])])
        settings = {"lambda_spatial": 0.0}
    else:
        settings = {}
    signature, some = given["signature"], slice(0, 100)
    # Numba compiles on the first call, and that is not counted.
    warm = type_means(given["reference"], given["labels"], given["types"]) if signature is None else signature
    FlashDeconv(random_state=options["seed"], **settings).fit_transform(X[some], warm, places[some])
    start = now()
    if signature is None:
        signature = type_means(given["reference"], given["labels"], given["types"])
    found = FlashDeconv(random_state=options["seed"], **settings).fit_transform(X, signature, places)
    write_result(found, given["types"], now() - start, "flashdeconv")


if __name__ == "__main__":
    main()
