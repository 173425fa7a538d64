"""Error laws: what error a scaled network will have, before it is trained.

    e = e0 + A_d d^-p_d + A_w w^-p_w + A_r r^-p_r + A_s s^-p_s

d, w, r = real blocks, channels and pixels over the base's; s = images seen in training. An additive
law saturates along every single dimension; its optimum under d w^2 r^2 = T is a compound scaling.
With one axis, say MACs, it is the saturating power law e0 + A C^-p. Errors are fractions. Numbers
from published tables are priors: fit your own where you have trainings.

law          Law, Term: a point estimate, and its file
fit          estimate_law, fit_lengths: from rows to numbers
posterior    the same rows, all exponents that explain them: predictions with intervals
optimum      alpha, beta, gamma with intervals, and whether three equal dimensions would do
checks       does another model predict left-out rows better? which row fits in with no other?
points       rows as points on named axes          sheet   tables of trained networks
sheet_file   tables from CSV files
tables       published tables by name              file    law.json with its rows

Only `law` and `fit` are imported here: the rest needs numpy.
"""

from phiscale.planning.laws.fit import estimate_law, fit_lengths
from phiscale.planning.laws.law import COARSE, EXPONENTS, IMAGES_UNIT, ErrorLaw, Law, LawRow, Term

__all__ = [
    "COARSE",
    "EXPONENTS",
    "IMAGES_UNIT",
    "ErrorLaw",
    "Law",
    "LawRow",
    "Term",
    "estimate_law",
    "fit_lengths",
]
