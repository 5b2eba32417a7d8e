"""The names of the protocols: the one table that commands, requests and pages choose from."""

from typing import Final, Literal, get_args

ProtocolName = Literal["screen", "quick", "standard", "strong", "full"]
AttackingProtocolName = Literal["quick", "standard", "strong", "full"]
PROTOCOL_NAMES: Final[tuple[ProtocolName, ...]] = get_args(ProtocolName)
ATTACKING_PROTOCOL_NAMES: Final[tuple[AttackingProtocolName, ...]] = get_args(AttackingProtocolName)
"""Those that attack the model: all but ``screen``."""
AUTOATTACK_STRENGTH: Final[tuple[ProtocolName, ...]] = ("standard", "strong", "full")
"""Those about as strong as AutoAttack's standard version, or stronger; published figures were measured with it."""
