"""Cut foreign_excerpt.h5 out of a dataset that another program wrote.

python tests/data/make_foreign_excerpt.py <its file> tests/data/foreign_excerpt.h5

Kept as they are: the first operators, three families, labels, and the registry that does not
fit its columns. Left out, for their size: series and initial fields.
"""

import sys

import h5py

OPERATORS = 300
LEFT_OUT = ("features/temporal", "inputs", "features/initial_manual", "outputs")


def main(source: str, excerpt: str) -> None:
    """Copy groups, attributes and the first rows of datasets."""
    with h5py.File(source, "r") as old, h5py.File(excerpt, "w") as new:
        total = old["features/summary/aggregated/features"].shape[0]

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if name.startswith(LEFT_OUT):
                return
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            else:
                per_operator = item.shape[:1] == (total,)
                values = item[:OPERATORS] if per_operator else item[()]
                options = {"compression": "gzip"} if item.ndim else {}
                made = new.create_dataset(
                    name, data=values, dtype=item.dtype, track_times=False, **options
                )
            for key, value in item.attrs.items():
                made.attrs[key] = value

        old.visititems(copy)


if __name__ == "__main__":
    main(*sys.argv[1:])
