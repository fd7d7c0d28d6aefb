"""How many operations reach the device."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode


class Calls(TorchDispatchMode):
    """Counts the operations that reach the device; views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names[func.overloadpacket.__name__] += not func.is_view
        return func(*args, **(kwargs or {}))
