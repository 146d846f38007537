"""
An import-linter contract: some modules import nothing but what is listed.

import-linter's own contracts forbid; the platform's interface, which the change has to keep to, is a list of what is
allowed.
"""

import sys

from importlinter import Contract, ContractCheck, fields, output


class AllowedContract(Contract):
    """
    Some modules import only what is allowed, each with all that is below it, and the standard library.

    Configuration options:

    - ``modules``: the modules it is about.
    - ``allowed``: what they may import.
    """

    type_name = "allowed"

    modules = fields.SetField(subfield=fields.StringField())
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph, verbose):
        """Look at each import of each module; a module that is not there is an error too."""
        wrong = []
        for module in sorted(self.modules):
            if module not in graph.modules:
                wrong.append(f"{module} does not exist")
                continue
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                if not self._is_allowed(imported):
                    lines = [
                        str(found["line_number"])
                        for found in graph.get_import_details(importer=module, imported=imported)
                    ]
                    wrong.append(f"{module} imports {imported} (line {', '.join(lines)})")
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def _is_allowed(self, imported):
        if imported.partition(".")[0] in sys.stdlib_module_names:
            return True
        return any(imported == allowed or imported.startswith(f"{allowed}.") for allowed in self.allowed)

    def render_broken_contract(self, check):
        """Print what is wrong."""
        for line in check.metadata["wrong"]:
            output.print_error(line)
