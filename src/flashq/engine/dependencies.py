"""Children that wait for their parents: who still holds whom back."""

from collections.abc import Iterable


class Graph:
    """The edges between jobs that have not both been settled. Knows ids only."""

    __slots__ = ("_children", "_parents")

    def __init__(self) -> None:
        self._children: dict[int, dict[int, None]] = {}
        self._parents: dict[int, set[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._children)

    def hold(self, child: int, parents: list[int]) -> None:
        """``child`` waits for these parents, of which there is at least one."""
        self._parents[child] = set(parents)
        for parent in parents:
            self._children.setdefault(parent, {})[child] = None

    def fan_out(self, parent: int) -> int:
        """How many children wait for ``parent``."""
        return len(self._children.get(parent, ()))

    def children(self, parent: int) -> Iterable[int]:
        """Who waits for ``parent``, in the order in which they came."""
        return self._children.get(parent, ())

    def completed(self, parent: int) -> list[int]:
        """``parent`` is done. Returns the children that now wait for nobody, in the order in which they came."""
        free: list[int] = []
        for child in self._children.pop(parent, ()):
            waits_for = self._parents[child]
            waits_for.discard(parent)
            if not waits_for:
                del self._parents[child]
                free.append(child)
        return free

    def lost(self, parent: int) -> list[int]:
        """``parent`` will never complete. Returns its children, which now wait for nobody."""
        children = list(self._children.get(parent, ()))
        for child in children:
            self.drop(child)
        return children

    def drop(self, child: int) -> None:
        """``child`` no longer waits."""
        for parent in self._parents.pop(child, ()):
            siblings = self._children[parent]
            del siblings[child]
            if not siblings:
                del self._children[parent]

    def waits_for(self, child: int) -> set[int]:
        """The parents that hold ``child`` back."""
        return self._parents.get(child, set())

    def waiting(self) -> dict[int, set[int]]:
        """All children and the parents that hold them back; for checks."""
        return self._parents
