"""Error mitigation: methods that yield tasks, receive their results and return better values.

This is the only folder that may import Mitiq (GPL v3, the extra ``nisqkit[mitigation]``), and
nothing in it ever runs a circuit by itself.
"""

if __name__ != "nisqkit.noise.mitigation":
    raise ImportError(f"import nisqkit.noise.mitigation, not {__name__}")

from nisqkit.noise.mitigation.base import Cost as Cost
from nisqkit.noise.mitigation.base import Mitigator as Mitigator
from nisqkit.noise.mitigation.base import stack_cost as stack_cost
from nisqkit.noise.mitigation.cdr import CliffordDataRegression as CliffordDataRegression
from nisqkit.noise.mitigation.ddd import DynamicalDecoupling as DynamicalDecoupling
from nisqkit.noise.mitigation.lre import LayerwiseRichardson as LayerwiseRichardson
from nisqkit.noise.mitigation.pec import PEC as PEC
from nisqkit.noise.mitigation.readout_mitigation import ReadoutMitigation as ReadoutMitigation
from nisqkit.noise.mitigation.twirling import PauliTwirling as PauliTwirling
from nisqkit.noise.mitigation.zne import ZNE as ZNE
