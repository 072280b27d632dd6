"""The speakers that can be compared. To add one: subclass `Speaker`, and list it here."""
from .bird import Bird2, Bird3
from .frr import Frr
from .gobgp import Gobgp
from .ours import Library, Router

ALL = {cls.name: cls for cls in (Library, Router, Bird2, Bird3, Frr, Gobgp)}
