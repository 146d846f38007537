"""
An import-linter contract, which ``.importlinter`` uses: some modules import nothing but what is listed.

import-linter 2.17 has no contract of this kind: all of its own forbid.
"""

import sys
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AllowedContract(Contract):
    """
    Some modules import only what is allowed, each with all that is below it, and the standard library.

    A module that does not exist breaks the contract too.
    """

    type_name = "allowed"

    modules: Any = fields.SetField(subfield=fields.StringField())
    allowed: Any = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at each direct import of each module."""
        allowed = tuple(f"{name}." for name in {*self.allowed, *sys.stdlib_module_names})
        wrong = [f"{module} does not exist" for module in sorted(self.modules - graph.modules)]
        for module in sorted(self.modules & graph.modules):
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                if not f"{imported}.".startswith(allowed):
                    details = graph.get_import_details(importer=module, imported=imported)
                    lines = ", ".join(str(found["line_number"]) for found in details)
                    wrong.append(f"{module} imports {imported} (line {lines})")
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what is wrong."""
        for line in check.metadata["wrong"]:
            output.print_error(line)
