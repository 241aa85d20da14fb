"""How are features brought to mean 0 and deviation 1 where scikit-learn is not installed?

The attributes are named as scikit-learn's, and a pickle of one holds numbers and arrays, so that it can be loaded with
nothing but numpy and this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[Any]


class StandardScaler:
    """Scales each column of a matrix by what ``fit`` saw of it; a column that never changes is only moved to 0."""

    mean_: Matrix
    var_: Matrix
    scale_: Matrix
    n_features_in_: int
    n_samples_seen_: int

    def fit(self, values: ArrayLike) -> StandardScaler:
        """Learn mean and deviation of each column; rows are samples."""
        import numpy as np

        matrix = np.asarray(values, np.float64)
        self.n_samples_seen_, self.n_features_in_ = matrix.shape
        self.mean_, self.var_ = matrix.mean(axis=0), matrix.var(axis=0)
        deviation = np.sqrt(self.var_)
        self.scale_ = np.where(deviation > 0, deviation, 1.0)
        return self

    def transform(self, values: ArrayLike) -> Matrix:
        """Return the values scaled."""
        import numpy as np

        return np.asarray((np.asarray(values, np.float64) - self.mean_) / self.scale_)

    def inverse_transform(self, values: ArrayLike) -> Matrix:
        """Return scaled values as they were."""
        import numpy as np

        return np.asarray(np.asarray(values, np.float64) * self.scale_ + self.mean_)
