"""Items of HDF5 files: links that leave a file are refused unless they are allowed."""

from collections.abc import Iterator
from pathlib import Path

import h5py

from spinlock.errors import SpinlockError

ALONE = (
    "copy the data into one file, or say allow_external_data: true in the settings, "
    "--allow-external to commands that read none"
)


def own_item(
    file: h5py.File, name: str, path: str | Path, external: bool = False
) -> h5py.Group | h5py.Dataset | None:
    """Return an item by its path, None where there is none.

    Raises
    ------
    SpinlockError
        When a link is broken, or leads to another file and `external` does not allow that.
    """
    place: h5py.Group | h5py.Dataset = file
    for part in name.split("/"):
        if not isinstance(place, h5py.Group):
            return None
        link = place.get(part, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink) and not external:
            raise SpinlockError(
                f"/{name} is a link to another file, {link.filename!r}",
                where=path,
                remedy=ALONE,
            )
        try:
            place = place[part]
        except (KeyError, OSError) as error:
            raise SpinlockError(
                f"/{name} cannot be read: {error}", where=path, remedy="repair the link"
            ) from error
    if not external and stands_outside(place, file):
        raise SpinlockError(
            f"/{name} takes its data from other files",
            where=path,
            remedy=ALONE,
        )
    return place


def items(file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Give path and item of every dataset and group of a file, those under /features first.

    Links are followed, groups entered once: they may form a circle.
    """
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    entered = {file["/"]}
    while waiting:
        above, group = waiting.pop(0)
        for name in sorted(group, key=lambda one: (one != "features", one)):
            try:
                item = group[name]
            except (KeyError, OSError):  # a broken link
                continue
            if isinstance(item, h5py.Dataset):
                yield f"{above}{name}", item
            elif isinstance(item, h5py.Group) and item not in entered:
                entered.add(item)
                yield f"{above}{name}", item
                waiting.append((f"{above}{name}/", item))


def stands_outside(item: h5py.Group | h5py.Dataset, file: h5py.File) -> bool:
    """Return whether an item, or its data, stands in another file than this one."""
    if item.file.filename != file.filename:  # through a soft link to an external one
        return True
    return isinstance(item, h5py.Dataset) and bool(item.is_virtual or item.external)


def linked_files(path: Path) -> list[Path]:
    """Return the files that a file's links and data lead to, directly or through others, once each.

    What is no readable HDF5 file leads nowhere.
    """
    found = {path.resolve(): path}  # one file may have many names
    waiting = [path]
    while waiting:
        for other in _leads_to(waiting.pop()):
            if other.resolve() not in found:
                found[other.resolve()] = other
                waiting.append(other)
    return list(found.values())[1:]


def _leads_to(path: Path) -> Iterator[Path]:
    names: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems_links(lambda _, link: names.extend(_of_link(link)))
            file.visititems(lambda _, item: names.extend(_of_data(item)))
    except (OSError, RuntimeError, ValueError):
        return
    yield from (path.parent / name for name in names)


def _of_link(link: object) -> list[str]:
    return [link.filename] if isinstance(link, h5py.ExternalLink) else []


def _of_data(item: h5py.Group | h5py.Dataset) -> list[str]:
    if not isinstance(item, h5py.Dataset):
        return []
    sources = item.virtual_sources() if item.is_virtual else []
    inside = [source.file_name for source in sources if source.file_name != "."]
    return inside + [name for name, _, _ in item.external or []]
