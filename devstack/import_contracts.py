"""The import contract of the modules, generated from the one list of them (``lint-imports`` reads pyproject.toml)."""

from typing import Any

from importlinter.contracts.layers import LayersContract

from campshub.modules import LAYERS


class ModuleLayers(LayersContract):
    """The app over the modules in their layers over core over the settings; modules of one layer are independent."""

    type_name = "module_layers"

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        modules = [" | ".join(f"campshub.{module}" for module in layer) for layer in reversed(LAYERS)]
        layers = ["campshub.app", "campshub.modules", *modules, "campshub.core", "campshub.config"]
        super().__init__(name, session_options, {**contract_options, "layers": layers})
