"""Compares the operations reported by `writing_child` processes with the contents of a directory."""

from pathlib import Path
from typing import Any

from fault_tools import disagreements, opened, unsound
from writing_child import TENANTS, Step
from written_model import TenantModel, held, ids_of


class History:
    """Everything acknowledged, and for each tenant at most one step in the air."""

    def __init__(self) -> None:
        self.models = {tenant: TenantModel(tenant) for tenant in TENANTS}
        self.in_the_air: dict[str, Step] = {}
        self.acknowledged = 0
        self.done_unsaid = 0
        """Steps that were done but not acknowledged; the next process asks for them again."""

    def note(self, event: str, tenant: str, step: Step, ids: Any = None) -> None:
        if event == "begin":
            self.in_the_air[tenant] = step
            return
        assert self.in_the_air.pop(tenant) == step
        self.models[tenant].apply(step, ids)
        self.acknowledged += 1

    def check(self, directory: Path) -> None:
        """Compare with the directory, which a process that was killed has left."""
        with opened(directory) as operations:
            for tenant, model in self.models.items():
                found, step = held(operations, tenant), self.in_the_air.get(tenant)
                if found == model.state():
                    continue
                assert step is not None, f"{tenant} lost something"
                try:
                    expected: object = model.after(step, ids_of(found, step)).state()
                except ValueError:  # the documents of the step are not all there
                    expected = None
                assert found == expected, f"{tenant} lost something, or holds a part of {step}"
                self.done_unsaid += 1
            assert unsound(operations) == []
        differences = disagreements(directory)
        assert not differences, differences
