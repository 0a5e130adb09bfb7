"""What each parameter is for, as the module that holds it declares it: the optimizer goes by it,
never by a name.
"""

from typing import cast

from torch import nn

from scalelab.layers.spec import Role


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by its name, in the model's order.

    A module with parameters of its own has a `role`.
    """
    found: dict[str, Role] = {}
    owners = dict(model.named_modules())
    for name, _ in model.named_parameters():
        owner = owners[name.rpartition(".")[0]]
        assert hasattr(owner, "role"), (
            f"{type(owner).__name__} does not say what its parameters are for"
        )
        found[name] = cast(Role, owner.role)
    return found
